"""Files and their columns, from where the code says where files lie and what a row holds."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from entries import entry
from pydantic import BaseModel

from outctl.evaluation.agreement import AgreementRecord, AgreementRow
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.evaluation.records import Record
from outctl.layout import Layout
from outctl.results.aggregation import MatrixRow
from outctl.results.comparisons import ComparisonRow, SeedRow
from outctl.results.further import DeviationRow, LearningRow, RetentionPositionRow, RetentionRow
from outctl.results.overall import VariantRow
from outctl.results.plots import PLOTS
from outctl.results.summary import SummaryRow

LAYOUT = Layout(Path("results"), Path("resources/models"))
TABLES: dict[Path, type[BaseModel]] = {
    LAYOUT.results_table(): VariantRow,
    LAYOUT.case_table(): SummaryRow,
    LAYOUT.comparison_table(): ComparisonRow,
    LAYOUT.matrix_table(): MatrixRow,
    LAYOUT.seed_table(): SeedRow,
    LAYOUT.learning_table(): LearningRow,
    LAYOUT.deviation_table(): DeviationRow,
    LAYOUT.retention_table(): RetentionRow,
    LAYOUT.retention_position_table(): RetentionPositionRow,
    LAYOUT.agreement_table(): AgreementRow,
}
"""Every table, and what a row of it is."""
RECORDS: dict[Path, type[BaseModel]] = {
    LAYOUT.records("{model}", "{variant}", "{case}"): Record,
    LAYOUT.deviation("{model}", "{variant}"): DeviationRecord,
    LAYOUT.agreement("{model}", "{variant}", "{case}"): AgreementRecord,
}
"""Files with a line of JSON a sample, and what a line is."""


def columns_page() -> str:
    """The columns of every table, and the keys of every kind of record."""
    parts = [
        "# Columns\n\n## Tables\n\nCSV, UTF-8, a header line. Numbers have ten decimals; undefined ones are empty. A mean has "
        "its interval in the two columns behind it, `…_low` and `…_high`, at the level `statistics.confidence` of the "
        "configuration. [Metrics](../metrics.md) works every measure out.\n"
    ]
    parts += [_rows(path.name, row) for path, row in TABLES.items()]
    parts.append("## Records\n\nA line of JSON a sample; undefined numbers are `null`.\n")
    parts += [_rows(path.relative_to(LAYOUT.results).as_posix(), row) for path, row in RECORDS.items()]
    return "\n".join(parts)


def _rows(name: str, row: type[BaseModel]) -> str:
    fields = row.model_fields.items()
    entries = [entry(f"{name}.{key}", key, [], str(field.description)) for key, field in fields]
    return "\n".join([f"### {name}\n", f"{inspect.getdoc(row)}\n", *entries])


def files_page() -> str:
    """Where the pipeline keeps its files."""
    found = "\n".join(entry(path, path, [], text) for path, text in _paths())
    figures = "\n".join(
        entry(name, LAYOUT.figure(name).as_posix(), [], f"{inspect.getdoc(plot)}") for name, plot in PLOTS.items()
    )
    return f"""# Files

`results/` is the experiment's key `results_dir`, and `resources/models/` its key `models_dir`; names in braces are those of
the configuration. Beside every output lies its provenance, `….provenance.json` or `provenance.json` in its directory: the job's
specification, checksums, versions, commit and hardware, and for trainings and evaluations the device and the types computed in.
`results/logs/` holds what each job printed, and `results/benchmarks/` what it took; what fetching a model took lies with the
models, in `resources/models/.benchmarks/`.

{found}

## Figures

{figures}
"""


def _paths() -> Iterator[tuple[str, str]]:
    """Every path that the layout knows by names alone, and what its docstring says of it."""
    for name, method in vars(Layout).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        parameters = list(inspect.signature(method).parameters.values())[1:]
        named = all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
        # A path that there may be none of is one that another method gives.
        if not named or method.__annotations__["return"] is not Path:
            continue
        path: Path = method(LAYOUT, *(f"{{{parameter.name}}}" for parameter in parameters))
        yield path.as_posix(), f"{inspect.getdoc(method)}"
