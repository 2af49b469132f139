"""The combined results of all models, and the tables."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from outctl.config.names import DEVIATION, REFERENCE_MODEL
from outctl.evaluation.agreement import AgreementRow
from outctl.results.comparisons import ComparisonRow, SeedRow, corrected
from outctl.results.evaluation_rows import DeviationRow, LearningRow, RetentionPositionRow, RetentionRow
from outctl.results.summary import ENDS, SummaryRow, column_names, defined
from outctl.results.variant_row import VariantRow
from outctl.results.variants import Compared
from outctl.storage.files import TableRow

CASE_COLUMNS = ("accuracy", "avg_tvd", "control_slope", "within_slope")
"""Columns that the table of models and variants repeats for every case, with the ends of their intervals."""


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
    """What the row holds of every case: `avg_tvd`, `control_slope` or `within_slope`; or `pass_rate`; or an end of the interval
    of one of these, such as `avg_tvd_low` or `control_slope_high`."""


def combine(
    results: dict[str, dict[str, Any]], compared: Compared, cases: list[str], metrics: Sequence[str]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Combine the results of all models.

    Args:
        results: what `model_results` gave, by model.
        compared: the variants.
        cases: the cases, in the order of their columns.
        metrics: divergences that have columns beside those that are always there.

    Returns:
        The rows of all models by what they are about, and the tables that there is something for by their names.
    """
    summaries, variant_rows = (_references_once(results, table) for table in ("summary", "overall"))
    comparisons = _corrected_together(
        ComparisonRow, [row for own in results.values() for row in own["comparisons"]], "tvd_p", "within_tolerance_p"
    )
    evaluations = _evaluation_rows(results)
    table = pd.DataFrame(summaries, columns=[*SummaryRow.model_fields, *column_names(metrics)])
    order = [REFERENCE_MODEL, *results]
    table = table.sort_values("model", key=lambda column: column.map(order.index), kind="stable")
    matrix = matrix_table(table, compared, cases, evaluations.get("base_model_deviation", []))
    content = {
        "overall": variant_rows,
        "summaries": summaries,
        "comparisons": comparisons,
        "matrix": matrix.astype(object).where(matrix.notna(), None).to_dict("records"),
        "sweeps": compared.ordered_sweeps(),
        "temperatures": {model: own["temperature"] for model, own in results.items() if own["temperature"]},
        **evaluations,
    }
    tables: dict[str, pd.DataFrame | None] = {
        "results": results_table(variant_rows, table, cases),
        "cases": table,
        "comparisons": _table(comparisons, ComparisonRow),
        "matrix": matrix if compared.adapters else None,
        **{name: _table(evaluations.get(name, []), schema) for name, schema in EVALUATION_ROWS.items()},
    }
    return content, {name: found for name, found in tables.items() if found is not None}


def _evaluation_rows(results: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of what was measured beside the cases, or follows from them."""
    (first, *_) = results.values()
    measured = [name for name in ("base_model_deviation", "retention", "agreement") if first[name] is not None]
    evaluations = {
        name: [row for own in results.values() for row in own[name]] for name in ("seeds", "learning_curves")
    }
    evaluations |= {name: [row for own in results.values() for row in own[name]["summary"]] for name in measured}
    if "retention" in measured:
        evaluations["retention_positions"] = [row for own in results.values() for row in own["retention"]["positions"]]
    for name, column in TESTED.items():
        if name in evaluations:
            evaluations[name] = _corrected_together(EVALUATION_ROWS[name], evaluations[name], column)
    return evaluations


def _references_once(results: dict[str, dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """The rows of all models; those of references depend on the samples alone, which all models share."""
    return [
        row
        for position, own in enumerate(results.values())
        for row in own[table]
        if position == 0 or row["model"] != REFERENCE_MODEL
    ]


def _table(rows: list[dict[str, Any]], schema: type[TableRow]) -> pd.DataFrame | None:
    """A table of rows, None where there are none; what is null becomes undefined, so that columns of numbers stay such."""
    if not rows:
        return None
    columns = list(schema.model_fields)
    return pd.DataFrame([{key: float("nan") if row[key] is None else row[key] for key in columns} for row in rows])


def _corrected_together(schema: type[TableRow], rows: list[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
    """Rows of all models, with p-values corrected for the number of them all, or of their families."""
    read = [
        schema.model_validate({key: float("nan") if value is None else value for key, value in row.items()})
        for row in rows
    ]
    return [defined(row) for row in corrected(read, *columns)]


EVALUATION_ROWS: dict[str, type[TableRow]] = {
    "seeds": SeedRow,
    "learning_curves": LearningRow,
    "base_model_deviation": DeviationRow,
    "retention": RetentionRow,
    "retention_positions": RetentionPositionRow,
    "agreement": AgreementRow,
}
"""The rows of the tables of evaluations and trainings."""
TESTED = {"base_model_deviation": "passed_p", "agreement": "p_value"}
"""Those that hold p-values, with their column."""

MATRIX_METRICS = ("avg_tvd", "control_slope", "within_slope")
"""What the matrix holds of every case."""


def matrix_table(
    cases: pd.DataFrame, compared: Compared, names: list[str], deviation: list[dict[str, Any]]
) -> pd.DataFrame:
    """What carries over: a row a model, variant and metric, what it trained on, and a column a case.

    Args:
        cases: the table with a row a model, variant and case.
        compared: which adapters trained on which cases.
        names: the cases, in the order of their columns.
        deviation: rows of `base_model_deviation`, whose pass rate is a column where it was measured.
    """
    passed = {(row["model"], row["variant"]): row for row in deviation}
    rows = []
    for (model, variant), own in cases[cases["model"] != REFERENCE_MODEL].groupby(["model", "variant"], sort=False):
        by_case = own.set_index("case_type")
        for metric in (f"{name}{end}" for name in MATRIX_METRICS for end in ENDS):
            begun = MatrixRow(
                model=str(model),
                variant=str(variant),
                trained_on=" ".join(compared.trained_on.get(str(variant), [])),
                metric=metric,
            )
            row = begun.model_dump() | {case: by_case.loc[case, metric] for case in names}
            rows.append(row)
        if deviation:
            begun_with = {key: rows[-1][key] for key in ("model", "variant", "trained_on")}
            measured = passed.get((str(model), str(variant)), {})
            rows += [
                {**begun_with, "metric": metric, DEVIATION: measured.get(metric, float("nan"))}
                for metric in (f"pass_rate{end}" for end in ENDS)
            ]
    return pd.DataFrame(rows)


def results_table(variant_rows: list[dict[str, Any]], cases: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row a model and variant: totals over its cases, each case counting alike, and the main columns of each case.

    Args:
        variant_rows: the rows of all cases together.
        cases: the table with a row a model, variant and case.
        names: the cases, in the order of their columns.
    """
    found = dict(list(cases.set_index("case_type").groupby(["model", "variant"])))
    columns = [(name, f"{column}{end}") for name in names for column in CASE_COLUMNS for end in ENDS]
    rows = []
    for row in variant_rows:
        by_case = found[row["model"], row["variant"]]
        # References are left out of cases in which they mean nothing.
        measured = {(name, column): by_case.loc[name, column] for name, column in columns if name in by_case.index}
        rows.append(row | {f"{name}_{column}": value for (name, column), value in measured.items()})
    # Rows that were read from JSON have their keys in alphabetical order.
    return pd.DataFrame(rows, columns=[*VariantRow.model_fields, *(f"{name}_{column}" for name, column in columns)])
