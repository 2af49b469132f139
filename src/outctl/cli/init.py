"""The command that begins a project: an experiment, a registry and a Snakefile, away from any checkout."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from outctl.cli.app import INTERACTIVE, app
from outctl.errors import OutctlError
from outctl.pipeline.workflow import FOLDER

FILES = {
    "Snakefile": ("project/Snakefile", "imports the workflow; rules of your own can go there too"),
    "config/config.yaml": ("project/config/config.yaml", "the experiment"),
    "config/models.yaml": ("project/config/models.yaml", "models of your own, beside those of `outctl models`"),
    "profiles/default/config.yaml": ("profiles/default/config.yaml", "Snakemake's settings for every run"),
    "slurm/config.v9+.yaml": ("profiles/slurm/config.v9+.yaml", "settings for a Slurm cluster, by --profile slurm"),
}
"""For each file of a project, what of the workflow's folder it is copied from, and what it is for."""


@app.command(rich_help_panel=INTERACTIVE)
def init(
    directory: Annotated[Path, typer.Argument(help="Where to begin; made if it is not there.")],
) -> None:
    """Begin a project: an experiment, a registry, and a Snakefile that imports the workflow. It overwrites nothing.

    Example: [bold]outctl init mine && cd mine && snakemake --cores all --resources gpu=1[/bold]
    """
    for name in FILES:
        if os.path.lexists(directory / name):
            raise OutctlError(
                f"{directory / name}: is there already, and nothing is overwritten; choose another directory"
            )
    for name, (source, purpose) in FILES.items():
        _write_new(directory / name, (FOLDER / source).read_text(encoding="utf-8"))
        print(f"{directory / name}: {purpose}")
    there = "" if directory.resolve() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    print(f"next: {there}snakemake --cores all --resources gpu=1")


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutctlError(f"{path}: cannot be written ({error.strerror})") from None
