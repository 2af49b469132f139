"""Variants and cases against each other, paired by sample, and repeats of a training over seeds."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

import numpy as np

from outctl.config.names import BASELINE
from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.metrics.paired import gained_and_lost, holm, mcnemar_pvalue, rate_difference, sign_flip_pvalue
from outctl.metrics.sharing import Sharing, effect_on_mean
from outctl.metrics.statistics import (
    NAN,
    Array,
    control_slope,
    mean_interval,
    slope_difference,
    standard_deviation,
    t_interval,
)
from outctl.results.slopes import first_shares, largest_shares
from outctl.storage.files import TableRow
from outctl.storage.intervals import Bootstrap, Ends, with_intervals

Table = TypeVar("Table", bound=TableRow)


@with_intervals
class ComparisonRow(TableRow):
    """One row of `output_control_comparisons.csv`: a variant and case against another. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The variant, an adapter most often."""
    case_type: str
    """The case."""
    against_variant: str
    """The variant that it is compared with: `baseline`, or what `comparisons` names."""
    against_case: str
    """The case of that one: the same, or one that asks for the same words and shares in another way."""
    family: str
    """The question, whose rows in the tables of all models are corrected together: `baseline` (a variant against its baseline),
    `adapters` (adapters against each other), or `cases` (a variant on one case against another)."""
    num_pairs: int
    """Samples that both answered."""
    tvd_difference: Bootstrap
    """Mean over samples of the total variation distance less that of the other: below 0 is better."""
    tvd_p: float
    """Two-sided p-value of the sign-flip permutation test of no difference; an upper bound where no drawn flip is as far."""
    tvd_p_holm: float
    """The same, corrected by Holm for the number of rows of the family."""
    accuracy_difference: Annotated[float, Ends("interval for pairs (Newcombe)")]
    """Share of samples within tolerance less that of the other: above 0 is better."""
    num_gained: int
    """Samples that it has within tolerance and the other has not."""
    num_lost: int
    """Samples that the other has within tolerance and it has not."""
    within_tolerance_p: float
    """Two-sided exact p-value of McNemar's test of as many gained as lost."""
    within_tolerance_p_holm: float
    """The same, corrected by Holm for the number of rows of the family."""
    slope_difference: Bootstrap
    """Slope of control less that of the other, over the samples in which both give the words any mass; undefined where one of
    the two slopes is."""
    within_slope_difference: Bootstrap
    """`within_slope` less that of the other."""


def compare(
    other: Sequence[Record],
    records: Sequence[Record],
    statistics: Statistics,
    seed: int,
    shared: Sharing | None = None,
) -> ComparisonRow:
    """Compare answers with other ones to the same samples; corrected p-values are left as they are.

    Args:
        other: what is compared with: the baseline's records, most often.
        records: what is compared.
        statistics: level of the intervals, resamples and permutations.
        seed: seed of both.
        shared: what the samples have in common; nothing without it.

    Raises:
        ValueError: the two did not answer the same samples in the same order.
    """
    if [_asked(record) for record in other] != [_asked(record) for record in records]:
        raise ValueError("the two did not answer the same samples")
    before, after = ([record.tvd for record in found] for found in (other, records))
    was, is_now = ([record.within_tolerance for record in found] for found in (other, records))
    drawn = statistics.confidence, statistics.bootstrap_samples, seed
    differences = [new - old for old, new in zip(before, after, strict=True)]
    changes = [float(new) - float(old) for old, new in zip(was, is_now, strict=True)]
    effect = effect_on_mean(shared, statistics.confidence, differences)
    changed = effect_on_mean(shared, statistics.confidence, changes, differences)
    slopes = {
        name: slope_difference(shares(records)[0], shares(other)[1], shares(records)[1], *drawn, shared)
        for name, shares in {"slope_difference": first_shares, "within_slope_difference": largest_shares}.items()
    }
    gained, lost = gained_and_lost(was, is_now)
    tvd_p = sign_flip_pvalue(before, after, statistics.permutations, seed, effect)
    within_p = mcnemar_pvalue(was, is_now, changed)
    return ComparisonRow.model_validate(
        {
            "model": records[0].model,
            "variant": records[0].variant,
            "case_type": records[0].case,
            "against_variant": other[0].variant,
            "against_case": other[0].case,
            "family": family(records[0], other[0]),
            "num_pairs": len(records),
            **mean_interval(differences, *drawn, shared).columns("tvd_difference"),
            "tvd_p": tvd_p,
            "tvd_p_holm": tvd_p,
            **rate_difference(was, is_now, statistics.confidence, changed).columns("accuracy_difference"),
            "num_gained": gained,
            "num_lost": lost,
            "within_tolerance_p": within_p,
            "within_tolerance_p_holm": within_p,
            **{key: value for name, slope in slopes.items() for key, value in slope.columns(name).items()},
        }
    )


def family(record: Record, other: Record) -> str:
    """The question that a comparison of two records' variants and cases belongs to, as in `ComparisonRow.family`."""
    if record.case != other.case:
        return "cases"
    return "baseline" if other.variant == BASELINE else "adapters"


def _asked(record: Record) -> tuple[str, list[float]]:
    """What tells samples apart that are asked in different cases: their number, and their shares."""
    return record.sample_id.removeprefix(record.case), record.target


def corrected(rows: Sequence[Table], *columns: str) -> list[Table]:
    """The rows of one table with p-values corrected for the number of rows in their family; without families, in the table.

    Args:
        rows: the rows.
        columns: the columns of p-values, each a test by itself; what is corrected stands in `{column}_holm`.
    """
    families: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        families.setdefault(getattr(row, "family", ""), []).append(number)
    found = list(rows)
    for numbers in families.values():
        for name in columns:
            values = holm([getattr(rows[number], name) for number in numbers])
            for number, value in zip(numbers, values, strict=True):
                found[number] = found[number].model_copy(update={f"{name}_holm": value})
    return found


@with_intervals
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
    avg_tvd: Annotated[float, Ends("interval over seeds (Student's t)")]
    """Mean total variation distance over seeds and samples."""
    avg_mass: Annotated[float, Ends("interval over seeds (Student's t)")]
    """Mean over seeds of the mean probability of answering one of the words."""
    accuracy: Annotated[float, Ends("interval over seeds (Student's t)")]
    """Mean over seeds of the share within tolerance."""
    std_between_seeds: float
    """Standard deviation between seeds: of their mean distances, less what chance in single answers adds to it; at least 0."""
    std_between_samples: float
    """Standard deviation between samples: of their distances, each the mean over seeds, less what chance adds; at least 0."""
    std_left: float
    """Standard deviation of what neither seed nor sample accounts for: one seed misses one sample, another another."""
    control_slope: Annotated[float, Ends("interval over seeds (Student's t)")]
    """Mean over seeds of the slope of control."""
    control_slope_std: float
    """Standard deviation of the seeds' slopes."""
    within_slope: Annotated[float, Ends("interval over seeds (Student's t)")]
    """Mean over seeds of the slope of the largest share alone."""


def between_seeds(repeats: Sequence[Sequence[Record]], confidence: float) -> SeedRow:
    """Tell the spread between seeds from that between samples, as variance components of a two-way random model.

    Means over samples still hold 1/samples of the variance that is left, means over seeds 1/seeds of it; both are taken out.
    Source: Searle, Casella and McCulloch, Variance Components, 1992.

    Args:
        repeats: the records of each training on one case, on the same samples in the same order.
        confidence: level of the interval.
    """
    first = repeats[0][0]
    distances = np.array([[record.tvd for record in records] for records in repeats])
    by_seed, by_sample = distances.mean(axis=1), distances.mean(axis=0)
    left = distances - by_seed[:, None] - by_sample[None, :] + distances.mean()
    slopes = [control_slope(*first_shares(records)) for records in repeats]
    within = [control_slope(*largest_shares(records)) for records in repeats]
    masses = [float(np.mean([1.0 - record.other_mass for record in records])) for records in repeats]
    rates = [float(np.mean([record.within_tolerance for record in records])) for records in repeats]
    seeds, samples = distances.shape
    freedom = (seeds - 1) * (samples - 1)
    left_variance = float((left**2).sum() / freedom) if freedom else NAN
    return SeedRow.model_validate(
        {
            "model": first.model,
            "variant": first.variant,
            "case_type": first.case,
            "num_seeds": seeds,
            "num_trials": samples,
            **t_interval(by_seed.tolist(), confidence).columns("avg_tvd"),
            **t_interval(masses, confidence).columns("avg_mass"),
            **t_interval(rates, confidence).columns("accuracy"),
            "std_between_seeds": _component(by_seed, left_variance / samples),
            "std_between_samples": _component(by_sample, left_variance / seeds),
            "std_left": float(np.sqrt(left_variance)),
            **t_interval(slopes, confidence).columns("control_slope"),
            "control_slope_std": standard_deviation(slopes),
            **t_interval(within, confidence).columns("within_slope"),
        }
    )


def _component(means: Array, chance: float) -> float:
    """Standard deviation of means beyond the variance that chance gives them; NaN where either is undefined."""
    return float(np.sqrt(np.maximum(standard_deviation(means.tolist()) ** 2 - chance, 0.0)))
