"""The workflow as part of the package: where it lies, and how its jobs find the package."""

import os
import sys
from pathlib import Path
from shlex import quote

FOLDER = Path(__file__).parent.parent / "workflow"
"""Rules, environments, captions, schemas, profiles, and what a new project is made of. Snakemake puts it on Python's path, so
it holds no module."""
SNAKEFILE = str(FOLDER / "Snakefile")
"""What a Snakefile of one's own imports with `module`."""


def job_prefix(source: Path, conda: bool) -> str:
    """The beginning of every job's shell command, which makes its `python` import this package.

    Args:
        source: the folder that holds the package.
        conda: whether jobs run in environments that Snakemake makes, which have all but this package.

    Returns:
        A text for `shell.prefix` of Snakemake, which reads braces as wildcards.
    """
    installed = any(source.glob("outctl-*.dist-info"))
    before = {} if conda else {"PATH": Path(sys.executable).parent}
    if conda or not installed:
        # What is installed beside the package must not come before the packages of another environment.
        before["PYTHONPATH"] = _alone(source) if installed else source
    lines = [f"export {name}={quote(str(path))}${{{name}:+:${name}}}; " for name, path in before.items()]
    return "".join(lines).replace("{", "{{").replace("}", "}}")


def _alone(source: Path) -> Path:
    """A folder that holds nothing but a link to the package."""
    folder = Path.cwd() / ".snakemake" / "outctl"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"outctl.{os.getpid()}"
    link.symlink_to(source / "outctl")
    link.replace(folder / "outctl")
    return folder
