"""Files and their columns, from where the code says where files lie and what a row holds."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from entries import entry
from pydantic import BaseModel

from outctl.config.names import DEVIATION
from outctl.evaluation.agreement import AgreementRecord, AgreementRow
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.evaluation.records import Record
from outctl.evaluation.retention import RetentionResult
from outctl.evaluation.temperature import TemperatureFit
from outctl.pipeline.layout import Layout
from outctl.report.registry import FILES
from outctl.results.combined import MatrixRow
from outctl.results.comparisons import ComparisonRow, SeedRow
from outctl.results.evaluation_rows import DeviationRow, LearningRow, RetentionPositionRow, RetentionRow
from outctl.results.summary import SummaryRow
from outctl.results.variant_row import VariantRow
from outctl.tasks.deviation import DeviationSample
from outctl.tasks.samples import Sample

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
    LAYOUT.samples("{case}", "{split}"): Sample,
    LAYOUT.samples(DEVIATION, "eval"): DeviationSample,
    LAYOUT.records("{model}", "{variant}", "{case}"): Record,
    LAYOUT.deviation("{model}", "{variant}"): DeviationRecord,
    LAYOUT.agreement("{model}", "{variant}", "{case}"): AgreementRecord,
}
"""Files with a line of JSON a sample, and what a line is."""
TRAINING = LAYOUT.adapter("{model}", "{adapter}") / "training.jsonl"
TRAINING_KEYS = {
    "step": "Optimiser steps done.",
    "samples": "Training samples seen so far.",
    "loss": "Mean loss since the line before, the KL penalty included; over the forms and tokens that the recipe counts.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the gradients, before they are clipped.",
    "held_out_tvd": "Mean total variation distance on the samples kept back.",
    "held_out_tvd_low": "Lower end of its interval.",
    "held_out_tvd_high": "Upper end of its interval.",
    "held_out_slope": "Slope of control on them.",
    "held_out_slope_low": "Lower end of its interval.",
    "held_out_slope_high": "Upper end of its interval.",
    "held_out_mass": "Their mean mass.",
    "held_out_mass_low": "Lower end of its interval.",
    "held_out_mass_high": "Upper end of its interval.",
    "retention_kl": "Mean of the KL penalty since the line before, without its weight, in nats.",
}
"""What a line of a training's log may hold; its writer knows the keys by name alone."""
RESULTS: dict[Path, type[BaseModel]] = {
    LAYOUT.temperature("{model}"): TemperatureFit,
    LAYOUT.retention("{model}", "{variant}"): RetentionResult,
}
"""Files of one JSON value, and what it holds beside the names of model and variant."""


def columns_page() -> str:
    """The columns of every table, and the keys of every kind of record."""
    parts = [
        "# Columns\n\n## Tables\n\nCSV, UTF-8, a header line. Numbers have ten decimals; undefined ones are empty. A mean has "
        "its interval in the two columns behind it, `…_low` and `…_high`, at the level `statistics.confidence` of the "
        "configuration. [Metrics](../metrics.md) works every measure out.\n"
    ]
    parts += [_rows(_name(path), row) for path, row in TABLES.items()]
    parts.append(
        "## Numbers of the figures\n\nBeside each figure lies a table of what it shows, in the form of the tables above. "
        "`outctl figures --from-csv results/figures` draws from these alone.\n"
    )
    parts += [_rows(_name(LAYOUT.figure_numbers(name)), figure.row) for name, figure in FILES.items() if figure.row]
    parts.append("## Samples and records\n\nA line of JSON a sample; undefined numbers are `null`.\n")
    parts += [_rows(_name(path), row) for path, row in RECORDS.items()]
    parts.append("## Trainings\n\nA line of JSON every `log_every` steps, with what was measured there.\n")
    parts += [f"### {_name(TRAINING)}\n", "One logged step.\n"]
    parts += [entry(f"{_name(TRAINING)}.{key}", key, [], text) for key, text in TRAINING_KEYS.items()]
    parts.append(
        "## Other measurements\n\nOne JSON value a file, with the names of model and variant; undefined numbers are `null`.\n"
    )
    parts += [_rows(_name(path), row) for path, row in RESULTS.items()]
    return "\n".join(parts)


def _name(path: Path) -> str:
    return path.relative_to(LAYOUT.results).as_posix()


def _rows(name: str, row: type[BaseModel]) -> str:
    """What a row holds, and behind it what its values hold that are more than numbers and texts."""
    sections = {name: row} | {model.__name__: model for model in _inside(row)}
    return "\n".join(_section(own_name, own) for own_name, own in sections.items())


def _section(name: str, row: type[BaseModel]) -> str:
    entries = [
        entry(
            f"{name}.{key}",
            key,
            [f"[{model.__name__}](#{model.__name__.lower()})" for model in _models(field.annotation)],
            str(field.description),
        )
        for key, field in row.model_fields.items()
    ]
    return "\n".join([f"### {name}\n", f"{inspect.getdoc(row)}\n", *entries])


def _inside(row: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in row.model_fields.values():
        for model in _models(field.annotation):
            yield model
            yield from _inside(model)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def files_page() -> str:
    """Where the pipeline keeps its files."""
    found = "\n".join(entry(path, path, [], text) for path, text in _paths())
    figures = "\n".join(
        entry(name, LAYOUT.figure(name).as_posix(), [], f"{figure.title}. {figure.caption}")
        for name, figure in FILES.items()
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
        path: Path = method(
            LAYOUT, *(parameter.annotation is not bool and f"{{{parameter.name}}}" for parameter in parameters)
        )
        yield path.as_posix(), f"{inspect.getdoc(method)}"
