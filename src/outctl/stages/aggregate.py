"""The combined results of all models: one JSON file and the tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from outctl.config.names import DEVIATION, REFERENCE_MODEL
from outctl.evaluation.agreement import AgreementRow
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs, environment, write_provenance
from outctl.pipeline.specs import AggregateSettings, Spec
from outctl.results.comparisons import ComparisonRow, SeedRow, corrected
from outctl.results.csv_tables import to_csv
from outctl.results.further import DeviationRow, LearningRow, RetentionPositionRow, RetentionRow
from outctl.results.summary import ENDS, SummaryRow, column_names, defined
from outctl.storage.files import TableRow, read_json, write_json, write_text

CASE_COLUMNS = ("accuracy", "avg_tvd", "control_slope")
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
    """What the row holds of every case: `avg_tvd` or `control_slope`; or `pass_rate`; or an end of the interval of one of
    these, such as `avg_tvd_low` or `control_slope_high`."""


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
    summaries, overall_rows = (_references_once(results, table) for table in ("summary", "overall"))
    comparisons = _corrected_together(
        ComparisonRow, [row for own in results.values() for row in own["comparisons"]], "tvd_p", "within_tolerance_p"
    )
    further = {
        "seeds": [row for own in results.values() for row in own["seeds"]],
        "learning_curves": [row for own in results.values() for row in own["learning_curves"]],
        **{
            name: [row for own in results.values() for row in own[name]["summary"]]
            for name in ("base_model_deviation", "retention", "agreement")
            if results[settings.models[0]][name] is not None
        },
    }
    if settings.retention:
        further["retention_positions"] = [row for own in results.values() for row in own["retention"]["positions"]]
    for name, (schema, column) in TESTED.items():
        if name in further:
            further[name] = _corrected_together(schema, further[name], column)
    cases = pd.DataFrame(summaries, columns=[*SummaryRow.model_fields, *column_names(settings.metrics)])
    order = [REFERENCE_MODEL, *settings.models]
    cases = cases.sort_values("model", key=lambda column: column.map(order.index), kind="stable")
    matrix = matrix_table(cases, settings, further.get("base_model_deviation", []))
    write_json(
        layout.combined(),
        {
            "overall": overall_rows,
            "summaries": summaries,
            "comparisons": comparisons,
            "matrix": matrix.astype(object).where(matrix.notna(), None).to_dict("records"),
            "recipes": {name: settings.recipes[name].model_dump(mode="json") for name in settings.adapters},
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
        layout.results_table(): results_table(overall_rows, cases, settings.cases),
        layout.case_table(): cases,
        layout.comparison_table(): _table(comparisons, list(ComparisonRow.model_fields)),
        layout.matrix_table(): matrix if settings.trained_on else None,
        layout.learning_table(): _table(further["learning_curves"], list(LearningRow.model_fields)),
        layout.seed_table(): _table(further["seeds"], list(SeedRow.model_fields)),
        layout.deviation_table(): _table(further.get("base_model_deviation", []), list(DeviationRow.model_fields)),
        layout.retention_table(): _table(further.get("retention", []), list(RetentionRow.model_fields)),
        layout.retention_position_table(): _table(
            further.get("retention_positions", []), list(RetentionPositionRow.model_fields)
        ),
        layout.agreement_table(): _table(further.get("agreement", []), list(AgreementRow.model_fields)),
    }
    written = {file: table for file, table in tables.items() if table is not None}
    for file, table in written.items():
        write_text(file, to_csv(table))
    write_provenance(beside(layout.combined()), spec, [layout.combined(), *written])


def _references_once(results: dict[str, dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """The rows of all models; those of references depend on the samples alone, which all models share."""
    return [
        row
        for position, own in enumerate(results.values())
        for row in own[table]
        if position == 0 or row["model"] != REFERENCE_MODEL
    ]


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame | None:
    """A table of rows, None where there are none; what is null becomes undefined, so that columns of numbers stay such."""
    if not rows:
        return None
    return pd.DataFrame([{key: float("nan") if row[key] is None else row[key] for key in columns} for row in rows])


def _corrected_together(schema: type[TableRow], rows: list[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
    """Rows of all models, with p-values corrected for the number of them all."""
    read = [
        schema.model_validate({key: float("nan") if value is None else value for key, value in row.items()})
        for row in rows
    ]
    return [defined(row) for row in corrected(read, *columns)]


TESTED: dict[str, tuple[type[TableRow], str]] = {
    "base_model_deviation": (DeviationRow, "passed_p"),
    "agreement": (AgreementRow, "p_value"),
}
"""Further tables that hold p-values, with their column."""
MATRIX_METRICS = ("avg_tvd", "control_slope")
"""What the matrix holds of every case."""


def matrix_table(cases: pd.DataFrame, settings: AggregateSettings, deviation: list[dict[str, Any]]) -> pd.DataFrame:
    """What carries over: a row a model, variant and metric, what it trained on, and a column a case.

    Args:
        cases: the table with a row a model, variant and case.
        settings: which adapters trained on which cases.
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
                trained_on=" ".join(settings.trained_on.get(str(variant), [])),
                metric=metric,
            )
            row = begun.model_dump() | {case: by_case.loc[case, metric] for case in settings.cases}
            rows.append(row)
        if deviation:
            begun_with = {key: rows[-1][key] for key in ("model", "variant", "trained_on")}
            measured = passed.get((str(model), str(variant)), {})
            rows += [
                {**begun_with, "metric": metric, DEVIATION: measured.get(metric, float("nan"))}
                for metric in (f"pass_rate{end}" for end in ENDS)
            ]
    return pd.DataFrame(rows)


def results_table(overall_rows: list[dict[str, Any]], cases: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row a model and variant: totals over its cases, each case counting alike, and the main columns of each case.

    Args:
        overall_rows: the rows of all cases together.
        cases: the table with a row a model, variant and case.
        names: the cases, in the order of their columns.
    """
    found = dict(list(cases.set_index("case_type").groupby(["model", "variant"])))
    rows = []
    for row in overall_rows:
        by_case = found[row["model"], row["variant"]]
        columns = [(name, f"{column}{end}") for name in names for column in CASE_COLUMNS for end in ENDS]
        rows.append(row | {f"{name}_{column}": by_case.loc[name, column] for name, column in columns})
    return pd.DataFrame(rows)
