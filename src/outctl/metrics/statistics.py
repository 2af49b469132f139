"""Estimates with intervals, and tests of paired answers. Undefined numbers are NaN.

SciPy is imported where it is needed: most jobs that use this module get by without, and start sooner.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
NAN = float("nan")
CONFIDENCE = 0.95
"""Of the intervals in what trainings and fits write: how tables are computed must not make these stale."""
RESAMPLES = 1000
"""Of these intervals."""
VALUES_AT_ONCE = 10_000_000
"""Resampled values that are held at once: memory does not grow with the number of samples and resamples."""


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """As columns of a table: under a name, and with `_low` and `_high` behind it."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_interval(values: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval:
    """Mean with a percentile bootstrap interval over samples; NaN without values, and no interval for a single one."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(data.mean())
    if data.size == 1:
        return Interval(mean, np.nan, np.nan)
    return Interval(mean, *_bootstrap((data,), np.mean, confidence, resamples, seed))


def mean_of_means_interval(groups: Sequence[Sequence[float]], confidence: float, resamples: int, seed: int) -> Interval:
    """Mean of the groups' means, each group counting alike, with a percentile bootstrap interval over samples.

    The first samples of all groups are drawn together, as are the second ones, and so on: they may ask for the same in other
    words, and then they miss alike. Where they do not, it makes no difference.

    Returns:
        NaN where a group is empty; no interval where all groups have a single value.
    """
    data = [np.asarray(values, dtype=np.float64) for values in groups]
    if not data or any(values.size == 0 for values in data):
        return Interval(NAN, NAN, NAN)
    # What the samples of each number add to the mean.
    added = np.zeros(max(values.size for values in data))
    for values in data:
        added[: values.size] += values / (values.size * len(data))
    value = float(added.sum())
    if added.size == 1:
        return Interval(value, NAN, NAN)
    # Drawn among those that the same groups have, so that every group keeps its size.
    strata = np.split(added, sorted({values.size for values in data})[:-1])
    # SciPy refuses a stratum of a single value, which stays as it is in every resample.
    fixed = sum(float(stratum[0]) for stratum in strata if stratum.size == 1)
    varied = tuple(stratum for stratum in strata if stratum.size > 1)

    def total(*drawn: Array, axis: int = -1) -> Any:
        return np.sum([values.sum(axis=axis) for values in drawn], axis=0) + fixed

    return Interval(value, *_bootstrap(varied, total, confidence, resamples, seed, paired=False))


def t_interval(values: Sequence[float], confidence: float) -> Interval:
    """Mean with Student's t interval, for few values such as one a seed; no interval for a single one."""
    from scipy import stats

    data = np.asarray(values, dtype=np.float64)
    if data.size < 2:
        return Interval(float(data.mean()) if data.size else NAN, NAN, NAN)
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, data.size - 1) * stats.sem(data))
    return Interval(float(data.mean()), float(data.mean()) - reach, float(data.mean()) + reach)


def rate_interval(successes: int, trials: int, confidence: float) -> Interval:
    """Rate with a Wilson score interval; NaN without trials."""
    from scipy import stats

    if trials == 0:
        return Interval(np.nan, np.nan, np.nan)
    interval = stats.binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def mean_of_rates_interval(groups: Sequence[Sequence[bool]], confidence: float) -> Interval:
    """Mean of the groups' rates, each counting alike, with an interval made of their Wilson intervals.

    The distances of the rates to the ends of their intervals are combined as standard errors would be (MOVER): unlike a
    bootstrap's, the interval has a width where no sample succeeds. Source: Zou and Donner 2008, doi 10.1002/sim.3095. As in
    `mean_of_means_interval`, the groups' n-th samples may succeed together.

    Args:
        groups: whether each sample succeeds.
        confidence: level of the interval.

    Returns:
        NaN without groups, or where one is empty.
    """
    if not groups or not all(groups):
        return Interval(NAN, NAN, NAN)
    rates = np.array([rate_interval(sum(held), len(held), confidence) for held in groups])
    together = np.array([[_correlation_of_rates(one, other) for other in groups] for one in groups])
    np.fill_diagonal(together, 1.0)
    mean = float(rates[:, 0].mean())
    below, above = (
        # Estimated from unequal numbers of samples, correlations may add up to less than nothing.
        float(np.sqrt(max(0.0, reach @ together @ reach))) / len(groups)
        for reach in (rates[:, 0] - rates[:, 1], rates[:, 2] - rates[:, 0])
    )
    return Interval(mean, mean - below, mean + above)


def _correlation_of_rates(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Correlation of two rates, whose first samples belong together as far as both go."""
    common = min(len(first), len(second))
    one, other = (np.asarray(held[:common], dtype=np.float64) for held in (first, second))
    if not (np.ptp(one) and np.ptp(other)):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1] * common / np.sqrt(len(first) * len(second)))


def rate_difference(before: Sequence[bool], after: Sequence[bool], confidence: float) -> Interval:
    """Rate after less rate before, of the same samples, with an interval made of their Wilson intervals.

    As wide as it should be where no sample changed, where a bootstrap's would have no width. Source: method 10 of Newcombe 1998,
    Statistics in Medicine 17, 2635-2650: "Improved confidence intervals for the difference between binomial proportions based
    on paired data".

    Returns:
        NaN without samples.
    """
    if not before:
        return Interval(NAN, NAN, NAN)
    count = len(before)
    gained, lost = gained_and_lost(before, after)
    both = sum(old and new for old, new in zip(before, after, strict=True))
    neither = count - both - gained - lost
    was, now = (rate_interval(sum(held), count, confidence) for held in (before, after))
    product = float(both * neither - gained * lost)
    # A positive correlation makes the interval narrower, so it is corrected for continuity.
    product = max(product - count / 2, 0.0) if product > 0 else product
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    phi = product / float(np.sqrt(margins)) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 - 2.0 * phi * one * other + other**2)))

    value = now.value - was.value
    below, above = reach(now.value - now.low, was.high - was.value), reach(now.high - now.value, was.value - was.low)
    return Interval(value, value - below, value + above)


def conditional_share(probabilities: Sequence[float], word: int = 0) -> float:
    """Share of a word among the words' mass; NaN where they have none."""
    mass = sum(probabilities)
    return probabilities[word] / mass if mass > 0.0 else NAN


def control_slope(targets: Sequence[float], shares: Sequence[float]) -> float:
    """Least-squares slope of the given share on the asked share: 1 is control, 0 is ignoring the number.

    Args:
        targets: the share asked for the first word of each sample.
        shares: the conditional probability of that word; samples with NaN are left out.

    Returns:
        NaN where fewer than two different targets are left.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = _defined_pairs(targets, shares)
    if np.unique(x).size < 2:
        return NAN
    return float(_slopes(x, y))


def slope_interval(
    targets: Sequence[float], shares: Sequence[float], confidence: float, resamples: int, seed: int
) -> Interval:
    """`control_slope` with a percentile bootstrap interval over samples; resamples without two different targets are left out."""
    x, y = _defined_pairs(targets, shares)
    if np.unique(x).size < 2:
        return Interval(NAN, NAN, NAN)
    return Interval(float(_slopes(x, y)), *_bootstrap((x, y), _slopes, confidence, resamples, seed))


def slope_difference(
    targets: Sequence[float],
    before: Sequence[float],
    after: Sequence[float],
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    """Slope after minus slope before, with a bootstrap interval over the samples that both have a share for."""
    both = [
        (target, share, other)
        for target, share, other in zip(targets, before, after, strict=True)
        if share == share and other == other
    ]
    x, first, second = (np.array(column) for column in zip(*both, strict=True)) if both else (np.empty(0),) * 3
    if np.unique(x).size < 2:
        return Interval(NAN, NAN, NAN)
    # A slope is linear in the shares, so the difference of slopes is the slope of the differences.
    difference = second - first
    ends = _bootstrap((x, difference), _slopes, confidence, resamples, seed)
    return Interval(float(_slopes(x, difference)), *ends)


def _defined_pairs(targets: Sequence[float], shares: Sequence[float]) -> tuple[Array, Array]:
    if len(targets) != len(shares):
        raise ValueError(f"{len(targets)} targets and {len(shares)} shares")
    x, y = np.asarray(targets, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    defined = ~np.isnan(y)
    return x[defined], y[defined]


def _slopes(x: Array, y: Array, axis: int = -1) -> Any:
    """Least-squares slopes along an axis; NaN where x does not vary."""
    centred = x - x.mean(axis=axis, keepdims=True)
    spread = (centred * centred).sum(axis=axis)
    # Equal values are not quite equal to their mean, so the spread itself does not tell.
    varies = np.ptp(x, axis=axis) > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, (centred * y).sum(axis=axis) / spread, NAN)


def _bootstrap(
    data: tuple[Array, ...], statistic: Any, confidence: float, resamples: int, seed: int, paired: bool = True
) -> tuple[float, float]:
    """Ends of a percentile bootstrap interval; of several arrays that are paired, the same samples are drawn from each."""
    from scipy import stats

    with warnings.catch_warnings():
        # Samples that are all alike have an interval of no width, which is what it is.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            data,
            statistic,
            paired=paired and len(data) > 1,
            vectorized=True,
            confidence_level=confidence,
            n_resamples=resamples,
            batch=_resamples_at_once(data),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(result.bootstrap_distribution, [tail, 1.0 - tail])
    return float(low), float(high)


def _resamples_at_once(data: tuple[Array, ...]) -> int:
    return max(1, VALUES_AT_ONCE // sum(values.size for values in data))


def sign_flip_pvalue(before: Sequence[float], after: Sequence[float], resamples: int, seed: int) -> float:
    """Two-sided p-value of the paired permutation test of equal means: exact where there are few pairs, else seeded.

    Under the hypothesis that it does not matter which of the two answered, each pair's difference is as likely with the
    other sign.

    Args:
        before: a value a sample.
        after: its partner's value.
        resamples: number of random sign flips, where not all can be tried.
        seed: seed of the flips.

    Returns:
        NaN without pairs, 1 for a single one.
    """
    from scipy import stats

    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.size < 2:
        # With its sign the other way a single difference is as far from 0; SciPy refuses it.
        return 1.0 if first.size else NAN
    result = stats.permutation_test(
        (second - first, np.zeros_like(first)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=_resamples_at_once((first,)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def gained_and_lost(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int]:
    """How many samples of a pair hold after and not before, and how many before and not after."""
    pairs = list(zip(before, after, strict=True))
    return sum(new and not old for old, new in pairs), sum(old and not new for old, new in pairs)


def mcnemar_pvalue(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Two-sided exact p-value of McNemar's test: are samples won and samples lost equally likely?

    Returns:
        1 where no sample changed, NaN without samples.
    """
    from scipy.stats import binomtest

    if not before:
        return NAN
    changed = [second for first, second in zip(before, after, strict=True) if first != second]
    return float(binomtest(sum(changed), len(changed), 0.5).pvalue) if changed else 1.0


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method; undefined ones stay NaN and do not count."""
    corrected = np.array(pvalues, dtype=np.float64)
    ascending = np.argsort(corrected)[: np.count_nonzero(~np.isnan(corrected))]
    left = np.arange(len(ascending), 0, -1)
    corrected[ascending] = np.minimum(1.0, np.maximum.accumulate(left * corrected[ascending]))
    return [float(value) for value in corrected]


def standard_deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1 in the denominator); NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
