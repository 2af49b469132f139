"""The numbers that figures show: a table a figure, which is all that drawing it needs."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from outctl.config.names import DEVIATION, REFERENCES, TEMPERATURE
from outctl.errors import OutctlError
from outctl.metrics.statistics import NAN
from outctl.pipeline.specs import FiguresSettings
from outctl.results.csv_tables import to_csv
from outctl.storage.files import TableRow, write_text

Results = dict[str, Any]
"""The results of each model, by its name."""


class FigureRow(TableRow):
    """What rows of all figures have in common."""

    model: str
    """The model."""
    variant: str
    """`baseline`, `temperature`, or an adapter."""


class CalibrationRow(FigureRow):
    """A sample's point in `calibration`."""

    case_type: str
    """The case."""
    sample_id: str
    """The sample."""
    asked_share: float
    """Share that the first word was asked to have."""
    even_share: float
    """Share that it has where all have the same: 1/2 of two words, 1/3 of three, 1/4 of the pairs of successive words."""
    given_share: float
    """Its share of the words' mass in the answer; undefined where they have none."""


class DistanceRow(FigureRow):
    """A case's mean distance in `tvd`; `variant` may also be a reference."""

    case_type: str
    """The case."""
    num_trials: int
    """Number of samples."""
    avg_tvd: float
    """Mean total variation distance."""
    avg_tvd_low: float
    """Lower end of its interval."""
    avg_tvd_high: float
    """Upper end of its interval."""


class MatrixRow(FigureRow):
    """A cell of each heat map of `matrix`; those of `base_model_deviation` stand in the map of distances alone."""

    case_type: str
    """The case."""
    num_trials: int
    """Number of samples."""
    trained_on: bool
    """Whether the adapter was trained on this case."""
    avg_tvd: float
    """Mean total variation distance; undefined in a row of `base_model_deviation`."""
    control_slope: float
    """Slope of control; undefined in a row of `base_model_deviation`."""
    failing: float
    """Share of samples that do not pass `base_model_deviation`; undefined in the other rows."""


class LearningRow(FigureRow):
    """A measurement while training in `learning_curves`."""

    samples: int
    """Training samples seen so far."""
    held_out_tvd: float
    """Mean total variation distance on the samples kept back."""
    held_out_tvd_low: float
    """Lower end of its interval."""
    held_out_tvd_high: float
    """Upper end of its interval."""
    held_out_slope: float
    """Slope of control on them."""
    held_out_slope_low: float
    """Lower end of its interval."""
    held_out_slope_high: float
    """Upper end of its interval."""


class SweepRow(DistanceRow):
    """A variation of a recipe in `sweeps`, on the first case that it trains on."""

    sweep: str
    """The sweep."""
    setting: str
    """What is varied, and how."""
    control_slope: float
    """Slope of control."""
    control_slope_low: float
    """Lower end of its interval."""
    control_slope_high: float
    """Upper end of its interval."""


class CostRow(DistanceRow):
    """An adapter in `retention`, on the first case that it trains on."""

    kl: float
    """Mean KL(baseline || adapter) on neutral prompts, in nats a token."""
    kl_low: float
    """Lower end of its interval."""
    kl_high: float
    """Upper end of its interval."""


class PositionRow(FigureRow):
    """A point of a curve in `retention_positions`."""

    source: str
    """`prompts`, the baseline's answers to neutral prompts; or `texts`, the held-out texts."""
    first: int
    """First position of the range."""
    last: int
    """Last position of the range."""
    kl: float
    """Mean KL(baseline || adapter) there, in nats a token."""
    kl_low: float
    """Lower end of its interval."""
    kl_high: float
    """Upper end of its interval."""
    perplexity_baseline: float
    """Perplexity of the texts there without the adapter; undefined for answers."""
    perplexity_baseline_low: float
    """Lower end of its interval."""
    perplexity_baseline_high: float
    """Upper end of its interval."""
    perplexity_adapter: float
    """Perplexity of the texts there with it; undefined for answers."""
    perplexity_adapter_low: float
    """Lower end of its interval."""
    perplexity_adapter_high: float
    """Upper end of its interval."""


class BreakRow(FigureRow):
    """A sample's answer in `deviation`."""

    sample_id: str
    """The sample."""
    deviation: float
    """Where the first deviation falls: 0 is the last word before the window, 1 its last word; undefined where nothing
    deviates."""
    passed: bool
    """Whether the sample passes."""


Rows = Sequence[Any]
"""Rows of one figure's table."""


def _summary(results: Results, model: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a model's summary, those of the references too, whose names no variant can have."""
    return {(row["variant"], row["case_type"]): row for row in results[model]["summary"]}


def _row(schema: type[TableRow], *parts: dict[str, Any], **own: Any) -> Any:
    """A row from the keys that it has in common with rows of results; what is null there is undefined."""
    found = {key: part[key] for part in parts for key in schema.model_fields if key in part} | own
    return schema.model_validate({key: NAN if value is None else value for key, value in found.items()})


def _calibration(results: Results, settings: FiguresSettings) -> Rows:
    rows = []
    for model in settings.models:
        for case in settings.cases:
            for variant in settings.variants:
                for record in results[model]["records"][variant][case]:
                    mass = sum(record["probabilities"])
                    given = record["probabilities"][0] / mass if mass > 0.0 else NAN
                    place = {"model": model, "variant": variant, "case_type": case, "sample_id": record["sample_id"]}
                    target = record["target"]
                    shares = {"asked_share": target[0], "even_share": 1.0 / len(target), "given_share": given}
                    rows.append(_row(CalibrationRow, place | shares))
    return rows


def _distances(results: Results, settings: FiguresSettings) -> Rows:
    return [
        _row(DistanceRow, _summary(results, model)[variant, case], model=model)
        for model in settings.models
        for case in settings.cases
        for variant in (*settings.variants, *REFERENCES)
    ]


def _matrix(results: Results, settings: FiguresSettings) -> Rows:
    rows = []
    for model in settings.models:
        summary, deviation = _summary(results, model), results[model]["base_model_deviation"]
        broken_off = {row["variant"]: row for row in deviation["summary"]} if deviation else {}
        for variant in settings.variants:
            for case in settings.cases:
                trained = case in settings.trained_on.get(variant, [])
                rows.append(_row(MatrixRow, summary[variant, case], trained_on=trained, failing=NAN))
            if variant in broken_off:
                own = broken_off[variant]
                undefined = {"avg_tvd": NAN, "control_slope": NAN}
                rows.append(
                    _row(
                        MatrixRow,
                        own,
                        case_type=DEVIATION,
                        trained_on=False,
                        failing=1.0 - own["pass_rate"],
                        **undefined,
                    )
                )
    return rows


def _learning_curves(results: Results, settings: FiguresSettings) -> Rows:
    return [_row(LearningRow, row) for model in settings.models for row in results[model]["learning_curves"]]


def _sweeps(results: Results, settings: FiguresSettings) -> Rows:
    return [
        _row(
            SweepRow,
            _summary(results, model)[adapter, settings.trained_on[adapter][0]],
            sweep=sweep,
            setting=variation,
        )
        for sweep in settings.ordered_sweeps()
        for adapter, variation in settings.variations(sweep).items()
        for model in settings.models
    ]


def _retention(results: Results, settings: FiguresSettings) -> Rows:
    rows = []
    for model in settings.models:
        changed = {row["variant"]: row for row in results[model]["retention"]["summary"]}
        for adapter in settings.adapters:
            summary = _summary(results, model)[adapter, settings.trained_on[adapter][0]]
            rows.append(_row(CostRow, changed[adapter], summary))
    return rows


def _retention_positions(results: Results, settings: FiguresSettings) -> Rows:
    return [_row(PositionRow, row) for model in settings.models for row in results[model]["retention"]["positions"]]


def _deviation(results: Results, settings: FiguresSettings) -> Rows:
    rows = []
    for model in settings.models:
        for variant in settings.variants:
            if variant == TEMPERATURE:
                continue
            for record in results[model]["base_model_deviation"]["records"][variant]:
                found, place = record["position"], NAN
                if found is not None:
                    place = (found - record["wait"]) / record["window"]
                rows.append(_row(BreakRow, record, model=model, variant=variant, deviation=place))
    return rows


Gather = Callable[[Results, FiguresSettings], Rows]
TABLES: dict[str, tuple[type[TableRow], Gather]] = {
    "calibration": (CalibrationRow, _calibration),
    "tvd": (DistanceRow, _distances),
    "matrix": (MatrixRow, _matrix),
    "learning_curves": (LearningRow, _learning_curves),
    "sweeps": (SweepRow, _sweeps),
    "retention": (CostRow, _retention),
    "retention_positions": (PositionRow, _retention_positions),
    "deviation": (BreakRow, _deviation),
}
"""Each figure's rows: what they are, and what gathers them."""


def write_figure_table(path: Path, name: str, results: Results, settings: FiguresSettings) -> None:
    """Write the numbers that a figure shows."""
    schema, gather = TABLES[name]
    rows = [row.model_dump() for row in gather(results, settings)]
    write_text(path, to_csv(pd.DataFrame(rows, columns=list(schema.model_fields))))


def read_figure_table(path: Path, name: str) -> Rows:
    """Read the numbers that a figure shows.

    Raises:
        OutctlError: the file is missing, empty, or no table of this figure.
    """
    schema, _ = TABLES[name]
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutctlError(f"{path}: cannot be read ({error})") from None
    if len(lines) < 2 or lines[0] != list(schema.model_fields):
        raise OutctlError(
            f"{path}: not the numbers of {name}, which have at least one row, and the columns {', '.join(schema.model_fields)}"
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise OutctlError(f"{path} line {number}: {len(line)} cells instead of {len(lines[0])}")
        # Undefined numbers are empty cells.
        cells = {key: cell or "nan" for key, cell in zip(lines[0], line, strict=True)}
        try:
            rows.append(schema.model_validate(cells))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise OutctlError(f"{path} line {number}: {first['loc'][0]}: {first['msg']}") from None
    return rows
