"""The workflow: rules, environments, captions, schemas, profiles, and what a new project is made of.

Snakemake puts this folder on Python's path, so it holds no other module.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
SNAKEFILE = str(FOLDER / "Snakefile")
"""What a Snakefile of one's own imports with `module`."""
