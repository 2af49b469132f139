"""Rows of the tables: what the records of a model, variant and case amount to."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel

from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.metrics.statistics import NAN, mean_interval, rate_interval, slope_interval, standard_deviation
from outctl.results.variant_row import is_fine_tuned
from outctl.storage.files import TableRow
from outctl.storage.intervals import Bootstrap, Ends, Wilson, with_intervals


@with_intervals
class SummaryRow(TableRow):
    """One row of `output_control_simple_metrics.csv`: a model, variant and case. Undefined numbers are NaN."""

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, `temperature` (the baseline at its best temperature), an adapter, or a reference (`uniform`, `majority`)."""
    case_type: str
    """The case."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_trials: int
    """Number of samples."""
    num_correct: int
    """Samples within tolerance."""
    num_incorrect: int
    """Samples not within tolerance."""
    accuracy: Wilson
    """Share of samples within tolerance."""
    avg_tvd: Bootstrap
    """Mean total variation distance between target and answer, over the words and *anything else*."""
    reference_difference: Annotated[float, Ends("bootstrap interval over samples, paired")]
    """Mean distance less that of the better reference, on the same samples: below 0 is better than any fixed rule. Undefined for
    the references themselves."""
    std_tvd: float
    """Standard deviation of the distance over samples."""
    avg_conditional_tvd: Bootstrap
    """Mean distance after division by the words' mass, over the samples that give them any."""
    avg_mass: Bootstrap
    """Mean probability of answering one of the words."""
    control_slope: Bootstrap
    """Least-squares slope of the first word's conditional share on its target: 1 is control, 0 is ignoring the number.
    Undefined where a word is to be suppressed: a limit is no share to follow."""
    accuracy_sad: Wilson
    """Share of samples that pass the published rule, to be compared with its tables only."""
    avg_tvd_sad: Bootstrap
    """Mean distance by the published rule."""
    words_valid: Wilson
    """Where the model picks the words: share of samples with distinct English words as rare as asked."""
    proven: Wilson
    """Where the model picks the words: share of samples in which they are proven to be its likeliest. In the others the
    search ended first, and other words may be likelier."""
    num_binding: float
    """Where a word is to be suppressed: samples in which it takes more than its limit, of what the baseline gives the topic's
    words when no limit is asked for. They are the same for all variants of a model."""
    kept: Wilson
    """Share of those samples in which it keeps to the limit, by its share of the words' mass; samples without mass are left
    out."""
    distinct_pairs: float
    """Where the model picks the words: number of different pairs; 1 is a model that ignores the seed."""


ENDS = ("", "_low", "_high")
"""What follows the name of a mean, and of the ends of its interval."""


def column_names(metrics: Sequence[str]) -> list[str]:
    """The columns of metrics: the mean of each over the samples, and its bootstrap interval."""
    return [f"avg_{name}{end}" for name in metrics for end in ENDS]


def conditional_share(record: Record) -> float:
    """Share of the first word among the words' mass; NaN where they have none."""
    mass = sum(record.probabilities)
    return record.probabilities[0] / mass if mass > 0.0 else NAN


def controlled_share(record: Record) -> float:
    """What a slope of control is fitted to: `conditional_share`, NaN also where a limit is asked for, no share to follow."""
    return NAN if record.at_most else conditional_share(record)


def summarise(
    model: str,
    variant: str,
    case: str,
    records: Sequence[Record],
    statistics: Statistics,
    seed: int,
    baseline: Sequence[Record] | None = None,
    references: Mapping[str, Sequence[Record]] | None = None,
) -> SummaryRow:
    """Summarise the records of one model, variant and case.

    Args:
        model: name of the model.
        variant: name of the variant.
        case: name of the case.
        records: what was measured.
        statistics: level of the intervals, and resamples behind them.
        seed: seed of the bootstrap.
        baseline: the baseline's records of the same samples, whose answers without a limit tell where it binds; the
            records themselves without it.
        references: what the references score on the same samples; without them nothing is held against them.
    """

    def average(name: str, values: Sequence[float | None]) -> dict[str, float]:
        defined = [value for value in values if value is not None]
        return mean_interval(defined, statistics.confidence, statistics.bootstrap_samples, seed).columns(name)

    def rate(name: str, values: Sequence[bool | None]) -> dict[str, float]:
        defined = [value for value in values if value is not None]
        return rate_interval(sum(defined), len(defined), statistics.confidence).columns(name)

    free_shares = [record.free_share for record in baseline or records]
    binding = [
        (conditional_share(record), record.target[0])
        for record, free in zip(records, free_shares, strict=True)
        if free is not None and free > record.target[0]
    ]
    correct = sum(record.within_tolerance for record in records)
    distances = [record.tvd for record in records]
    scored = [[record.tvd for record in found] for found in (references or {}).values()]
    bar = min(scored, key=sum) if scored else []
    own = [record for record in records if record.words_valid is not None]
    slope = slope_interval(
        [record.target[0] for record in records],
        [controlled_share(record) for record in records],
        statistics.confidence,
        statistics.bootstrap_samples,
        seed,
    )
    numbers = {
        **rate("accuracy", [record.within_tolerance for record in records]),
        **average("avg_tvd", distances),
        **average(
            "reference_difference", [own - fixed for own, fixed in zip(distances, bar, strict=True)] if bar else []
        ),
        **average("avg_conditional_tvd", [record.conditional_tvd for record in records]),
        **average("avg_mass", [1.0 - record.other_mass for record in records]),
        **slope.columns("control_slope"),
        **rate("accuracy_sad", [record.within_tolerance_sad for record in records]),
        **average("avg_tvd_sad", [record.tvd_sad for record in records]),
        **rate("words_valid", [record.words_valid for record in records]),
        **rate("proven", [record.search_complete for record in records]),
        **rate("kept", [share <= limit if share == share else None for share, limit in binding]),
    }
    return SummaryRow.model_validate(
        {
            "model": model,
            "variant": variant,
            "case_type": case,
            "fine_tuned": is_fine_tuned(model, variant),
            "num_trials": len(records),
            "num_correct": correct,
            "num_incorrect": len(records) - correct,
            "num_binding": NAN if all(free is None for free in free_shares) else len(binding),
            "std_tvd": standard_deviation(distances),
            "distinct_pairs": len({frozenset(record.words) for record in own}) if own else NAN,
            **numbers,
        }
    )


def defined(row: BaseModel) -> dict[str, Any]:
    """A row as plain data for JSON, where undefined numbers are null."""
    return {key: None if value != value else value for key, value in row.model_dump().items()}
