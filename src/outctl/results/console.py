"""Tables for a terminal."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from outctl.config.experiment import Experiment
from outctl.config.models import ModelEntry, Registry
from outctl.config.names import REFERENCES
from outctl.errors import OutctlError, first_line
from outctl.machine.estimates import weights_mb
from outctl.machine.model_types import expected_engine

TEXTS = ("case_type", "model", "variant")
NUMBERS = ("avg_tvd", "avg_tvd_low", "avg_tvd_high", "accuracy", "control_slope", "within_slope", "avg_mass")
"""Columns that the table of a terminal shows."""


def number(value: float, digits: int = 3) -> str:
    """A number for a table; a dash where it is undefined."""
    return "-" if value != value else f"{round(value, digits) + 0.0:.{digits}f}"


def print_table(console: Console, heading: str, table: Table) -> None:
    """Print a table below its heading, which unlike a title of the table's own is not padded to its width."""
    console.print(heading, style="italic", highlight=False)
    console.print(table)


def summary_table(cases: pd.DataFrame) -> Table:
    """Baseline against adapters, case by case, reference rows below each case.

    Args:
        cases: the table with a row a model, variant and case.
    """
    table = Table()
    for name in ("case", "model", "variant"):
        table.add_column(name, overflow="fold")
    for name in ("avg_tvd", "interval", "accuracy", "slope", "within", "mass"):
        table.add_column(name, justify="right", no_wrap=True)
    for case, own in cases.groupby("case_type", sort=False):
        measured = own[~own["variant"].isin(REFERENCES)]
        for row in pd.concat([measured, own[own["variant"].isin(REFERENCES)]]).to_dict("records"):
            table.add_row(
                str(case),
                str(row["model"]),
                str(row["variant"]),
                number(row["avg_tvd"]),
                f"{number(row['avg_tvd_low'])} .. {number(row['avg_tvd_high'])}",
                number(row["accuracy"], 2),
                number(row["control_slope"], 2),
                number(row["within_slope"], 2),
                number(row["avg_mass"], 2),
                style="dim" if row["variant"] in REFERENCES else None,
            )
        table.add_section()
    return table


def print_summary(console: Console, table: Path, files: Mapping[Path, str]) -> None:
    """Print the table of an experiment's results, and where its files are.

    Args:
        console: where to print.
        table: the table with a row a model, variant and case.
        files: what to name, each with what it is.

    Raises:
        OutctlError: there are no results yet, or the table is not as the workflow writes it.
    """
    if not table.is_file():
        raise OutctlError(f"{table}: no such file; run the workflow first")
    try:
        cases = pd.read_csv(table, dtype=dict.fromkeys(NUMBERS, float))[[*TEXTS, *NUMBERS]]
    except (OSError, ValueError, KeyError) as error:
        reason = f"{table}: no table of results ({first_line(error)})"
        raise OutctlError(f"{reason}; delete it and run the workflow again") from None
    heading = (
        "Baseline against adapter (avg_tvd: 0 is perfect; slope: 1 is control; within: of the largest share alone)"
    )
    print_table(console, heading, summary_table(cases))
    console.print("Results:", style="bold")
    for file, meaning in files.items():
        console.print(f"  {file}  {meaning}", soft_wrap=True, highlight=False)


def models_table(entries: Mapping[str, ModelEntry], engines: Mapping[str, str | None]) -> Table:
    """The registry: source, parameters, precision, memory of the weights, and of fetched models the engine to expect."""
    table = Table()
    for name in ("model", "source", "asked as", "precision"):
        table.add_column(name, overflow="fold")
    for name in ("parameters", "weights", "fetched", "engine"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, entry in entries.items():
        size, weights = "?", "?"
        if entry.parameters is not None:
            size, weights = f"{entry.parameters / 1e9:.2f} B", f"{weights_mb(entry) / 1e3:.1f} GB"
        table.add_row(
            name,
            entry.source.label,
            "chat" if entry.chat else "transcript",
            entry.precision,
            size,
            weights,
            "no" if engines[name] is None else "yes",
            (engines[name] or "").partition(":")[0],
        )
    return table


def fetched_engines(registry: Registry, experiment: Experiment) -> dict[str, str | None]:
    """The engine to expect of each model that is prepared on this machine, as in `expected_engine`; None of the others."""
    models = Path(experiment.models_dir)
    return {
        name: expected_engine(models / name, entry.engine) if (models / name / "provenance.json").is_file() else None
        for name, entry in registry.models.items()
    }


SIGNIFICANT = {"float32": 4, "float16": 3, "bfloat16": 2}
"""Digits of a probability that rounding leaves alone, by the type that the model computes in."""


def significant(value: float, computed: str) -> float:
    """A probability without the digits that are noise."""
    return float(f"{value:.{SIGNIFICANT.get(computed, 2)}g}")


def remainder(answers: Mapping[str, float], computed: str) -> float:
    """The probability of any other answer, to the decimals to which the sum of those is known."""
    return max(0.0, round(1.0 - sum(answers.values()), SIGNIFICANT.get(computed, 2)))


def answers_table(answers: Mapping[str, float], computed: str) -> Table:
    """Probabilities of words, and of anything else, and the type that they were computed in."""
    digits = SIGNIFICANT.get(computed, 2)
    table = Table(caption=f"{computed}, {digits} digits")
    table.add_column("answer")
    table.add_column("probability", justify="right")
    for word, probability in answers.items():
        table.add_row(word, f"{significant(probability, computed):.{digits}g}")
    table.add_row("(anything else)", f"{remainder(answers, computed):.{digits}g}")
    return table
