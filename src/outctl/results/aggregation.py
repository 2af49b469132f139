"""The combined results of all models: one JSON file and two tables."""

from typing import Any

import pandas as pd

from outctl.config import REFERENCE_MODEL
from outctl.errors import printable
from outctl.files import read_json, write_json, write_text
from outctl.layout import Layout, beside
from outctl.provenance import check_outputs, environment, write_provenance
from outctl.results.summary import SummaryRow
from outctl.specs import AggregateSettings, Spec

CASE_COLUMNS = ("accuracy", "avg_tvd", "control_slope")
"""Columns that the table of models and variants repeats for every case."""


def aggregate(spec: Spec, layout: Layout) -> None:
    """Combine the results of all models.

    Args:
        spec: the specification of this job.
        layout: where the models' results lie and the combined ones go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(AggregateSettings)
    summaries: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    evaluations: dict[str, Any] = {}
    for position, model in enumerate(settings.models):
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results = read_json(file)
        # Reference rows depend on the samples alone, which all models share.
        summaries += [row for row in results["summary"] if position == 0 or row["model"] != REFERENCE_MODEL]
        comparisons += results["comparisons"]
        evaluations[model] = results["provenance"]
    cases = pd.DataFrame(summaries, columns=list(SummaryRow.model_fields))
    order = [REFERENCE_MODEL, *settings.models]
    cases = cases.sort_values("model", key=lambda column: column.map(order.index), kind="stable")
    table = results_table(cases, settings.cases)
    write_json(
        layout.combined(),
        {
            "summaries": summaries,
            "comparisons": comparisons,
            "provenance": {
                "spec_hash": spec.hash,
                "settings": settings.model_dump(mode="json"),
                "models": evaluations,
                "environment": environment(),
            },
        },
    )
    write_text(layout.case_table(), to_csv(cases))
    write_text(layout.results_table(), to_csv(table))
    write_provenance(
        beside(layout.combined()),
        spec,
        [layout.combined(), layout.case_table(), layout.results_table()],
    )


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV: ten decimals, undefined numbers empty, one kind of line end on every system, and no formulas."""
    written = table.copy()
    for name in table:
        if pd.api.types.is_float_dtype(table[name]):
            # Adding zero turns the -0.0 that rounding leaves into 0.0.
            written[name] = table[name].round(10) + 0.0
        else:
            written[name] = table[name].map(_as_text)
    return str(written.rename(columns=_as_text).to_csv(index=False, lineterminator="\n"))


def _as_text(cell: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: an apostrophe in front of a formula, escapes of control characters."""
    if not isinstance(cell, str):
        return cell
    return printable(f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell)


def results_table(cases: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row a model and variant: totals over its cases, each case counting alike, and the main columns of each case.

    Args:
        cases: the table with a row a model, variant and case.
        names: the cases, in the order of their columns.
    """
    rows = []
    for (model, variant), own in cases.groupby(["model", "variant"], sort=False):
        row: dict[str, Any] = {
            "model": model,
            "variant": variant,
            "fine_tuned": bool(own["fine_tuned"].iloc[0]),
            "num_cases": len(own),
            "num_trials": int(own["num_trials"].sum()),
            "num_correct": int(own["num_correct"].sum()),
            "accuracy": own["accuracy"].mean(),
            "avg_tvd": own["avg_tvd"].mean(),
            "avg_mass": own["avg_mass"].mean(),
        }
        by_case = own.set_index("case_type")
        for name in names:
            row |= {f"{name}_{column}": by_case.loc[name, column] for column in CASE_COLUMNS}
        rows.append(row)
    return pd.DataFrame(rows)
