"""Rows of the tables: what the records of a model, variant and case amount to."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel

from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.metrics.sharing import Sharing, effect_on_mean
from outctl.metrics.statistics import (
    NAN,
    conditional_share,
    mean_interval,
    rate_interval,
    slope_interval,
    standard_deviation,
)
from outctl.results.slopes import first_shares, largest_shares
from outctl.results.variant_row import is_fine_tuned
from outctl.storage.files import TableRow
from outctl.storage.intervals import Bootstrap, Ends, Wilson, with_intervals


@with_intervals
class SummaryRow(TableRow):
    """One row of `output_control_simple_metrics.csv`: a model, variant and case. Undefined numbers are NaN."""

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, `temperature` (the baseline at its best temperature), an adapter, or a reference (`uniform`,
    `majority`, `ordinal`)."""
    case_type: str
    """The case."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_trials: int
    """Number of samples."""
    design_effect: float
    """How many samples are worth one independent sample, as they share words, letters or topics, for the mean distance: its
    interval is wider by the root of this. The other intervals have one each."""
    num_correct: int
    """Samples within tolerance."""
    num_incorrect: int
    """Samples not within tolerance."""
    accuracy: Wilson
    """Share of samples within tolerance."""
    avg_tvd: Bootstrap
    """Mean total variation distance between target and answer, over the words and *anything else*."""
    reference_difference: Annotated[float, Ends("bootstrap interval over samples, paired")]
    """Mean distance less that of the best reference, on the same samples: below 0 is nearer than every reference. Undefined for
    the references themselves."""
    std_tvd: float
    """Standard deviation of the distance over samples."""
    avg_conditional_tvd: Bootstrap
    """Mean distance after division by the words' mass, over the samples that give them any."""
    avg_mass: Bootstrap
    """Mean probability of answering one of the words."""
    control_slope: Bootstrap
    """Least-squares slope of the first word's conditional share on its target: 1 is control, 0 is ignoring the number.
    Undefined where a word is to be suppressed, as a limit is no share to follow, and where `avg_mass` is below 0.05, as the split
    of next to nothing is noise."""
    within_slope: Bootstrap
    """The same slope of the largest share alone, over the samples that have a single largest one: 0 is to know which share is
    the largest, and to ignore by how much."""
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


def summarise(
    model: str,
    variant: str,
    case: str,
    records: Sequence[Record],
    statistics: Statistics,
    seed: int,
    baseline: Sequence[Record] | None = None,
    references: Mapping[str, Sequence[Record]] | None = None,
    shared: Sharing | None = None,
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
        shared: what the samples have in common; nothing without it.
    """
    drawn = statistics.confidence, statistics.bootstrap_samples, seed
    distances = [record.tvd for record in records]

    def average(name: str, values: Sequence[float | None]) -> dict[str, float]:
        defined = {number: value for number, value in enumerate(values) if value is not None}
        among = shared.of(list(defined)) if shared else None
        return mean_interval(list(defined.values()), *drawn, among).columns(name)

    def rate(name: str, values: Sequence[bool | None]) -> dict[str, float]:
        defined = {number: value for number, value in enumerate(values) if value is not None}
        held = list(defined.values())
        effect = effect_on_mean(
            shared.of(list(defined)) if shared else None,
            statistics.confidence,
            held,
            [distances[number] for number in defined],
        )
        return rate_interval(sum(held), len(held), statistics.confidence, effect).columns(name)

    free_shares = [record.free_share for record in baseline or records]
    binding = [free is not None and free > record.target[0] for record, free in zip(records, free_shares, strict=True)]
    shares = [conditional_share(record.probabilities) for record in records]
    correct = sum(record.within_tolerance for record in records)
    scored = [[record.tvd for record in found] for found in (references or {}).values()]
    bar = min(scored, key=sum) if scored else []
    own = [record for record in records if record.words_valid is not None]
    slopes = {
        name: slope_interval(asked, given, *drawn, shared)
        for name, (asked, given) in {
            "control_slope": first_shares(records),
            "within_slope": largest_shares(records),
        }.items()
    }
    numbers = {
        **rate("accuracy", [record.within_tolerance for record in records]),
        **average("avg_tvd", distances),
        **average(
            "reference_difference", [own - fixed for own, fixed in zip(distances, bar, strict=True)] if bar else []
        ),
        **average("avg_conditional_tvd", [record.conditional_tvd for record in records]),
        **average("avg_mass", [1.0 - record.other_mass for record in records]),
        **{key: value for name, slope in slopes.items() for key, value in slope.columns(name).items()},
        **rate("accuracy_sad", [record.within_tolerance_sad for record in records]),
        **average("avg_tvd_sad", [record.tvd_sad for record in records]),
        **rate("words_valid", [record.words_valid for record in records]),
        **rate("proven", [record.search_complete for record in records]),
        **rate(
            "kept",
            [
                share <= record.target[0] if binds and share == share else None
                for record, share, binds in zip(records, shares, binding, strict=True)
            ],
        ),
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
            "design_effect": effect_on_mean(shared, statistics.confidence, distances),
            "num_binding": NAN if all(free is None for free in free_shares) else sum(binding),
            "std_tvd": standard_deviation(distances),
            "distinct_pairs": len({frozenset(record.words) for record in own}) if own else NAN,
            **numbers,
        }
    )


def defined(row: BaseModel) -> dict[str, Any]:
    """A row as plain data for JSON, where undefined numbers are null."""
    return {key: None if value != value else value for key, value in row.model_dump().items()}
