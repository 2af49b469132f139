"""Baseline against adapters, paired by sample, and repeats of a training over seeds."""

from collections.abc import Sequence

import numpy as np

from outctl.config import Statistics
from outctl.evaluation.records import Record
from outctl.evaluation.statistics import (
    NAN,
    control_slope,
    holm,
    mcnemar_pvalue,
    mean_interval,
    sign_flip_pvalue,
    slope_difference,
    standard_deviation,
    t_interval,
)
from outctl.files import TableRow
from outctl.results.summary import conditional_share


class ComparisonRow(TableRow):
    """One row of `output_control_comparisons.csv`: an adapter against its model's baseline. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The adapter."""
    case_type: str
    """The case."""
    num_pairs: int
    """Samples that both answered."""
    tvd_difference: float
    """Mean over samples of adapter's minus baseline's total variation distance: below 0 is better."""
    tvd_difference_low: float
    """Lower end of its bootstrap interval."""
    tvd_difference_high: float
    """Upper end of its bootstrap interval."""
    tvd_p: float
    """Two-sided p-value of the sign-flip permutation test of no difference."""
    tvd_p_holm: float
    """The same, corrected by Holm for the number of rows of the table."""
    num_gained: int
    """Samples that the adapter has within tolerance and the baseline has not."""
    num_lost: int
    """Samples that the baseline has within tolerance and the adapter has not."""
    within_tolerance_p: float
    """Two-sided exact p-value of McNemar's test of as many gained as lost."""
    within_tolerance_p_holm: float
    """The same, corrected by Holm for the number of rows of the table."""
    slope_difference: float
    """Adapter's minus baseline's slope of control, over the samples in which both give the words any mass."""
    slope_difference_low: float
    """Lower end of its bootstrap interval."""
    slope_difference_high: float
    """Upper end of its bootstrap interval."""


def compare(baseline: Sequence[Record], adapted: Sequence[Record], statistics: Statistics, seed: int) -> ComparisonRow:
    """Compare an adapter with the baseline on the samples of a case; corrected p-values are left as they are.

    Raises:
        ValueError: the two did not answer the same samples in the same order.
    """
    if [record.sample_id for record in baseline] != [record.sample_id for record in adapted]:
        raise ValueError("baseline and adapter did not answer the same samples")
    before, after = ([record.tvd for record in records] for records in (baseline, adapted))
    was, is_now = ([record.within_tolerance for record in records] for records in (baseline, adapted))
    difference = mean_interval(
        [new - old for old, new in zip(before, after, strict=True)],
        statistics.confidence,
        statistics.bootstrap_samples,
        seed,
    )
    slope = slope_difference(
        [record.target[0] for record in baseline],
        [conditional_share(record) for record in baseline],
        [conditional_share(record) for record in adapted],
        statistics.confidence,
        statistics.bootstrap_samples,
        seed,
    )
    tvd_p, within_p = sign_flip_pvalue(before, after, statistics.permutations, seed), mcnemar_pvalue(was, is_now)
    return ComparisonRow(
        model=adapted[0].model,
        variant=adapted[0].variant,
        case_type=adapted[0].case,
        num_pairs=len(adapted),
        tvd_difference=difference.value,
        tvd_difference_low=difference.low,
        tvd_difference_high=difference.high,
        tvd_p=tvd_p,
        tvd_p_holm=tvd_p,
        num_gained=sum(new and not old for old, new in zip(was, is_now, strict=True)),
        num_lost=sum(old and not new for old, new in zip(was, is_now, strict=True)),
        within_tolerance_p=within_p,
        within_tolerance_p_holm=within_p,
        slope_difference=slope.value,
        slope_difference_low=slope.low,
        slope_difference_high=slope.high,
    )


def corrected(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The rows of one table with p-values corrected for their number, each test by itself."""
    tvd, within = holm([row.tvd_p for row in rows]), holm([row.within_tolerance_p for row in rows])
    return [
        row.model_copy(update={"tvd_p_holm": first, "within_tolerance_p_holm": second})
        for row, first, second in zip(rows, tvd, within, strict=True)
    ]


class SeedRow(TableRow):
    """One row of `output_control_seeds.csv`: trainings that differ in their seed alone. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The first of the adapters."""
    case_type: str
    """The case."""
    num_seeds: int
    """How many trainings."""
    num_trials: int
    """Samples that each of them answered."""
    avg_tvd: float
    """Mean total variation distance over seeds and samples."""
    avg_tvd_low: float
    """Lower end of its interval over seeds (Student's t)."""
    avg_tvd_high: float
    """Upper end of its interval over seeds."""
    std_between_seeds: float
    """Standard deviation of the seeds' mean distances."""
    std_between_samples: float
    """Standard deviation of the samples' distances, each the mean over seeds."""
    std_left: float
    """Standard deviation of what neither seed nor sample accounts for: one seed misses one sample, another another."""
    control_slope: float
    """Mean over seeds of the slope of control."""
    control_slope_std: float
    """Standard deviation of the seeds' slopes."""


def between_seeds(repeats: Sequence[Sequence[Record]], confidence: float) -> SeedRow:
    """Tell the spread between seeds from that between samples.

    Args:
        repeats: the records of each training on one case, on the same samples in the same order.
        confidence: level of the interval.
    """
    first = repeats[0][0]
    distances = np.array([[record.tvd for record in records] for records in repeats])
    by_seed, by_sample = distances.mean(axis=1), distances.mean(axis=0)
    left = distances - by_seed[:, None] - by_sample[None, :] + distances.mean()
    slopes = [
        control_slope([record.target[0] for record in records], [conditional_share(record) for record in records])
        for records in repeats
    ]
    seeds, samples = distances.shape
    freedom = (seeds - 1) * (samples - 1)
    interval = t_interval(by_seed.tolist(), confidence)
    return SeedRow(
        model=first.model,
        variant=first.variant,
        case_type=first.case,
        num_seeds=seeds,
        num_trials=samples,
        avg_tvd=interval.value,
        avg_tvd_low=interval.low,
        avg_tvd_high=interval.high,
        std_between_seeds=standard_deviation(by_seed.tolist()),
        std_between_samples=standard_deviation(by_sample.tolist()),
        std_left=float(np.sqrt((left**2).sum() / freedom)) if freedom else NAN,
        control_slope=float(np.mean(slopes)),
        control_slope_std=standard_deviation(slopes),
    )
