"""The combined results of all models: one JSON file and the tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from outctl.config import DEVIATION, REFERENCE_MODEL
from outctl.errors import printable
from outctl.evaluation.agreement import AgreementRow
from outctl.files import TableRow, read_json, write_json, write_text
from outctl.layout import Layout, beside
from outctl.provenance import check_outputs, environment, write_provenance
from outctl.results.comparisons import ComparisonRow, SeedRow, corrected
from outctl.results.further import DeviationRow, LearningRow, RetentionRow
from outctl.results.summary import SummaryRow, defined
from outctl.specs import AggregateSettings, Spec

CASE_COLUMNS = ("accuracy", "avg_tvd", "control_slope")
"""Columns that the table of models and variants repeats for every case."""


class VariantRow(TableRow):
    """How a row of `output_control_results.csv` begins: a model and variant over its cases, each case counting alike.

    Behind these stand `{case}_accuracy`, `{case}_avg_tvd` and `{case}_control_slope` of every case.
    """

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, `temperature`, an adapter, or a reference."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_cases: int
    """Number of cases."""
    num_trials: int
    """Samples of all cases."""
    num_correct: int
    """Those of them within tolerance."""
    accuracy: float
    """Mean over cases of the share within tolerance."""
    avg_tvd: float
    """Mean over cases of the mean total variation distance."""
    avg_mass: float
    """Mean over cases of the mean probability of answering one of the words."""


class MatrixRow(TableRow):
    """How a row of `output_control_matrix.csv` begins; behind these stands a column a case, under the case's name.

    Where it is measured, a last column `base_model_deviation` holds the rate of passes, in rows of their own.
    """

    model: str
    """The model."""
    variant: str
    """`baseline`, `temperature`, or an adapter."""
    trained_on: str
    """The cases that the adapter trained on, with blanks between them; empty without an adapter."""
    metric: str
    """What the row holds of every case: `avg_tvd` or `control_slope`; or `pass_rate`."""


def aggregate(spec: Spec, layout: Layout) -> None:
    """Combine the results of all models.

    Args:
        spec: the specification of this job.
        layout: where the models' results lie and the combined ones go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(AggregateSettings)
    results: dict[str, dict[str, Any]] = {}
    for model in settings.models:
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results[model] = read_json(file)
    # Reference rows depend on the samples alone, which all models share.
    summaries = [
        row
        for position, own in enumerate(results.values())
        for row in own["summary"]
        if position == 0 or row["model"] != REFERENCE_MODEL
    ]
    comparisons = _corrected_together([row for own in results.values() for row in own["comparisons"]])
    further = {
        "seeds": [row for own in results.values() for row in own["seeds"]],
        "learning_curves": [row for own in results.values() for row in own["learning_curves"]],
        **{
            name: [row for own in results.values() for row in own[name]["summary"]]
            for name in ("base_model_deviation", "retention", "agreement")
            if results[settings.models[0]][name] is not None
        },
    }
    cases = pd.DataFrame(summaries, columns=list(SummaryRow.model_fields))
    order = [REFERENCE_MODEL, *settings.models]
    cases = cases.sort_values("model", key=lambda column: column.map(order.index), kind="stable")
    matrix = matrix_table(cases, settings, further.get("base_model_deviation", []))
    write_json(
        layout.combined(),
        {
            "summaries": summaries,
            "comparisons": comparisons,
            "matrix": matrix.astype(object).where(matrix.notna(), None).to_dict("records"),
            "sweeps": settings.ordered_sweeps(),
            "temperatures": {model: own["temperature"] for model, own in results.items() if own["temperature"]},
            **further,
            "provenance": {
                "spec_hash": spec.hash,
                "settings": settings.model_dump(mode="json"),
                "models": {model: own["provenance"] for model, own in results.items()},
                "environment": environment(),
            },
        },
    )
    tables: dict[Path, pd.DataFrame | None] = {
        layout.results_table(): results_table(cases, settings.cases),
        layout.case_table(): cases,
        layout.comparison_table(): _table(comparisons, list(ComparisonRow.model_fields)),
        layout.matrix_table(): matrix if settings.trained_on else None,
        layout.learning_table(): _table(further["learning_curves"], list(LearningRow.model_fields)),
        layout.seed_table(): _table(further["seeds"], list(SeedRow.model_fields)),
        layout.deviation_table(): _table(further.get("base_model_deviation", []), list(DeviationRow.model_fields)),
        layout.retention_table(): _table(further.get("retention", []), list(RetentionRow.model_fields)),
        layout.agreement_table(): _table(further.get("agreement", []), list(AgreementRow.model_fields)),
    }
    written = {file: table for file, table in tables.items() if table is not None}
    for file, table in written.items():
        write_text(file, to_csv(table))
    write_provenance(beside(layout.combined()), spec, [layout.combined(), *written])


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame | None:
    """A table of rows, None where there are none; what is null becomes undefined, so that columns of numbers stay such."""
    if not rows:
        return None
    return pd.DataFrame([{key: float("nan") if row[key] is None else row[key] for key in columns} for row in rows])


def _corrected_together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons of all models, with p-values corrected for the number of them all."""
    read = [
        ComparisonRow.model_validate({key: float("nan") if value is None else value for key, value in row.items()})
        for row in rows
    ]
    return [defined(row) for row in corrected(read)]


MATRIX_METRICS = ("avg_tvd", "control_slope")
"""What the matrix holds of every case."""


def matrix_table(cases: pd.DataFrame, settings: AggregateSettings, deviation: list[dict[str, Any]]) -> pd.DataFrame:
    """What carries over: a row a model, variant and metric, what it trained on, and a column a case.

    Args:
        cases: the table with a row a model, variant and case.
        settings: which adapters trained on which cases.
        deviation: rows of `base_model_deviation`, whose pass rate is a column where it was measured.
    """
    passed = {(row["model"], row["variant"]): row["pass_rate"] for row in deviation}
    rows = []
    for (model, variant), own in cases[cases["model"] != REFERENCE_MODEL].groupby(["model", "variant"], sort=False):
        by_case = own.set_index("case_type")
        for metric in MATRIX_METRICS:
            begun = MatrixRow(
                model=str(model),
                variant=str(variant),
                trained_on=" ".join(settings.trained_on.get(str(variant), [])),
                metric=metric,
            )
            row = begun.model_dump() | {case: by_case.loc[case, metric] for case in settings.cases}
            rows.append(row)
        if deviation:
            row = {key: rows[-1][key] for key in ("model", "variant", "trained_on")}
            rows.append({**row, "metric": "pass_rate", DEVIATION: passed.get((str(model), str(variant)), float("nan"))})
    return pd.DataFrame(rows)


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
        row = VariantRow(
            model=str(model),
            variant=str(variant),
            fine_tuned=bool(own["fine_tuned"].iloc[0]),
            num_cases=len(own),
            num_trials=int(own["num_trials"].sum()),
            num_correct=int(own["num_correct"].sum()),
            accuracy=float(own["accuracy"].mean()),
            avg_tvd=float(own["avg_tvd"].mean()),
            avg_mass=float(own["avg_mass"].mean()),
        ).model_dump()
        by_case = own.set_index("case_type")
        for name in names:
            row |= {f"{name}_{column}": by_case.loc[name, column] for column in CASE_COLUMNS}
        rows.append(row)
    return pd.DataFrame(rows)
