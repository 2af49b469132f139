"""The command that says whether an experiment can run on this machine."""

import json
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from outctl.cli.app import DEFAULT_CONFIG, INTERACTIVE, AsJson, Config, app, console, plan_of
from outctl.errors import OutctlError

if TYPE_CHECKING:
    from outctl.machine.doctor import Diagnosis

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


@app.command(rich_help_panel=INTERACTIVE)
def doctor(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Say what this machine can run, and what to change; exit code 1 where the experiment cannot run here.

    Example: [bold]outctl doctor --config config/seed-models.yaml[/bold]
    """
    from outctl.machine.doctor import diagnose

    try:
        diagnosis = diagnose(plan_of(config))
    except OutctlError as error:
        diagnosis = diagnose(None, str(error))
    if as_json:
        print(json.dumps(diagnosis.as_json(), indent=2, ensure_ascii=False))
    else:
        _show(diagnosis, str(config))
    if not diagnosis.runs:
        raise typer.Exit(1)


def _show(diagnosis: "Diagnosis", config: str) -> None:
    from outctl.machine.doctor import gigabytes
    from outctl.results.console import print_table

    shown = console()
    found = Table.grid(padding=(0, 2, 0, 0))
    for name in ("state", "topic"):
        found.add_column(name, no_wrap=True)
    found.add_column("text", overflow="fold")
    for finding in diagnosis.findings:
        found.add_row(Text(finding.state, STYLES[finding.state]), finding.topic, finding.text)
        if finding.advice:
            found.add_row("", "", Text(f"-> {finding.advice}", "bold"))
    shown.print(found)
    if diagnosis.models:
        table = Table()
        table.add_column("model", overflow="fold")
        table.add_column("precision", no_wrap=True)
        for name in ("GPU memory", "memory", "disk", "fetched", "evaluate on", "train on"):
            table.add_column(name, justify="right", no_wrap=True)
        for fit in diagnosis.models:
            table.add_row(
                f"{fit.model} *" if fit.model in diagnosis.asked else fit.model,
                fit.precision,
                *(gigabytes(amount) for amount in (fit.gpu_mb, fit.memory_mb, fit.disk_mb)),
                "yes" if fit.model in diagnosis.fetched else "no",
                *(Text(place, "red" if place == "no" else "green") for place in (fit.evaluation, fit.training)),
            )
        print_table(shown, "Models of the registry, by estimates; * are those of the experiment", table)
    verdict = "can run here" if diagnosis.runs else "cannot run here until what is marked as a problem is mended"
    shown.print(Text(f"The experiment of {config} {verdict}.", STYLES["ok" if diagnosis.runs else "problem"]))
