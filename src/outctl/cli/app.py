"""The command line's program: what its commands share."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from outctl.config.reading import nearest, read_yaml
from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.stages.dag import load_plan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Can a language model control its own output distribution? Measure it, train it, compare.\n\n"
    "The whole pipeline runs with [bold]snakemake --cores all --resources gpu=1[/bold]; the commands below are its steps, "
    "each usable by hand, and interactive ones.",
)
STEPS = "Steps of the pipeline"
INTERACTIVE = "Interactive commands"
EXCHANGE = "For other tools"

Config = Annotated[Path, typer.Option("--config", help="The experiment's configuration.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("config/config.yaml")
SECONDS_BETWEEN_LINES = 2.0
"""Between two lines on a job's progress in its log."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"outctl {metadata.version('outctl')}")
        raise typer.Exit


def plan_of(config: Path) -> Plan:
    """The plan of a configuration file."""
    return load_plan(read_yaml(config), [config])


def known(kind: str, name: str, valid: list[str]) -> None:
    """Refuse a name that is none of these."""
    if name not in valid:
        raise OutctlError(f"there is no {kind} {name!r}; {nearest(name, valid)}")


def console() -> Console:
    """Standard output; where it is no terminal, wide enough for the tables. Brackets in names and words are no markup.

    With NO_COLOR it is plain text, without bold type too.
    """
    styles: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    width = None if sys.stdout.isatty() else 120
    return Console(width=width, markup=False, emoji=False, color_system=styles)


def progress_bar() -> Progress:
    """A progress bar on the terminal's error stream; silent where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


@contextmanager
def shown_progress(name: str, unit: str = "samples") -> Iterator[Callable[[int, int], None]]:
    """A progress bar for one job; gives what to call with how much is done, and of how much.

    Where there is no terminal, as in a job's log, lines say it: `12 of 50 samples`. The display of the run reads them there.
    """
    if sys.stderr.isatty():
        with progress_bar() as progress:
            task = progress.add_task(name, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    said = -math.inf

    def say(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{done} of {total} {unit}", file=sys.stderr, flush=True)

    yield say


@app.callback()
def _before(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    # Everything but what asks the hub itself reads what was fetched; libraries must not ask it for anything.
    if context.invoked_subcommand not in ("fetch-adapter", "fetch-model", "push-adapter", "doctor"):
        os.environ["HF_HUB_OFFLINE"] = "1"


ResultsDir = Annotated[
    Path | None,
    typer.Option("--results-dir", help="Directory of the results; default: results_dir of the configuration."),
]


def layout_of(results_dir: Path | None, config: Path) -> Layout:
    """Where results lie."""
    return Layout(results_dir, Path()) if results_dir else plan_of(config).layout
