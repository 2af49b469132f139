"""Rows of the tables: what the records of a model, variant and case amount to."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from outctl.config import BASELINE, REFERENCE_MODEL, REFERENCES, Statistics
from outctl.evaluation.records import Record
from outctl.evaluation.references import reference_records
from outctl.evaluation.statistics import Interval, control_slope, mean, mean_interval, rate_interval, standard_deviation
from outctl.tasks.samples import Sample

NAN = float("nan")


class SummaryRow(BaseModel):
    """One row of `output_control_simple_metrics.csv`: a model, variant and case. Undefined numbers are NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, an adapter, or a reference (`uniform`, `majority`)."""
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
    accuracy: float
    """Share of samples within tolerance."""
    accuracy_low: float
    """Lower end of its Wilson interval."""
    accuracy_high: float
    """Upper end of its Wilson interval."""
    avg_tvd: float
    """Mean total variation distance between target and answer, over the words and *anything else*."""
    avg_tvd_low: float
    """Lower end of its bootstrap interval."""
    avg_tvd_high: float
    """Upper end of its bootstrap interval."""
    std_tvd: float
    """Standard deviation of the distance over samples."""
    avg_conditional_tvd: float
    """Mean distance after division by the words' mass, over the samples that give them any."""
    avg_mass: float
    """Mean probability of answering one of the words."""
    control_slope: float
    """Least-squares slope of the first word's conditional share on its target: 1 is control, 0 is ignoring the number."""
    accuracy_sad: float
    """Share of samples that pass the published rule, to be compared with its tables only."""
    avg_tvd_sad: float
    """Mean distance by the published rule."""
    words_valid: float
    """Where the model picks the words: share of samples with distinct English words as rare as asked."""
    distinct_pairs: float
    """Where the model picks the words: number of different pairs; 1 is a model that ignores the seed."""


def conditional_share(record: Record) -> float:
    """Share of the first word among the words' mass; NaN where they have none."""
    mass = sum(record.probabilities)
    return record.probabilities[0] / mass if mass > 0.0 else NAN


def summarise(
    model: str, variant: str, case: str, records: Sequence[Record], statistics: Statistics, seed: int
) -> SummaryRow:
    """Summarise the records of one model, variant and case."""
    correct = sum(record.within_tolerance for record in records)
    accuracy = rate_interval(correct, len(records), statistics.confidence)
    distances = [record.tvd for record in records]
    tvd = mean_interval(distances, statistics.confidence, statistics.bootstrap_samples, seed)
    own = [record for record in records if record.words_valid is not None]
    return SummaryRow(
        model=model,
        variant=variant,
        case_type=case,
        fine_tuned=model != REFERENCE_MODEL and variant != BASELINE,
        num_trials=len(records),
        num_correct=correct,
        num_incorrect=len(records) - correct,
        accuracy=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        avg_tvd=tvd.value,
        avg_tvd_low=tvd.low,
        avg_tvd_high=tvd.high,
        std_tvd=standard_deviation(distances),
        avg_conditional_tvd=mean([record.conditional_tvd for record in records]),
        avg_mass=mean([1.0 - record.other_mass for record in records]),
        control_slope=control_slope(
            [record.target[0] for record in records], [conditional_share(record) for record in records]
        ),
        accuracy_sad=mean([record.within_tolerance_sad for record in records]),
        avg_tvd_sad=mean([record.tvd_sad for record in records]),
        words_valid=mean([record.words_valid for record in own]),
        distinct_pairs=len({frozenset(record.words) for record in own}) if own else NAN,
    )


def reference_rows(samples: Sequence[Sample], case: str, statistics: Statistics, seed: int) -> list[SummaryRow]:
    """Rows of the references on the samples of one case."""
    records = reference_records(samples)
    by_name = {name: [record for record in records if record.variant == name] for name in REFERENCES}
    return [summarise(REFERENCE_MODEL, name, case, own, statistics, seed) for name, own in by_name.items()]


def paired_difference(
    baseline: Sequence[Record], adapted: Sequence[Record], statistics: Statistics, seed: int
) -> Interval:
    """Mean difference in TVD, adapter minus baseline, over the samples that both answered: below 0 is better.

    Raises:
        ValueError: the two did not answer the same samples.
    """
    before = {record.sample_id: record.tvd for record in baseline}
    after = {record.sample_id: record.tvd for record in adapted}
    if before.keys() != after.keys():
        raise ValueError("baseline and adapter did not answer the same samples")
    differences = [after[name] - before[name] for name in before]
    return mean_interval(differences, statistics.confidence, statistics.bootstrap_samples, seed)


def defined(row: BaseModel) -> dict[str, Any]:
    """A row as plain data for JSON, where undefined numbers are null."""
    return {key: None if value != value else value for key, value in row.model_dump().items()}
