"""Estimates with intervals. Undefined numbers are NaN.

Samples that share words or topics make intervals wider: `shared` says what they share, `effect` is their design effect, both as
in `outctl.metrics.sharing`. SciPy is imported where it is needed: most jobs that use this module start without it.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

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


class Dependence(Protocol):
    """What samples have in common: `outctl.metrics.sharing.Sharing`, which trainings, that start from here, never run."""

    def effect(self, influence: npt.ArrayLike, confidence: float) -> float:
        """Return the design effect."""

    def of(self, numbers: Sequence[int]) -> "Dependence":
        """Return that of some of the samples."""


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """As columns of a table: under a name, and with `_low` and `_high` behind it."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_interval(
    values: Sequence[float], confidence: float, resamples: int, seed: int, shared: Dependence | None = None
) -> Interval:
    """Mean with a percentile bootstrap interval over samples; NaN without values, and no interval for a single one."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(data.mean())
    if data.size == 1:
        return Interval(mean, np.nan, np.nan)
    interval = Interval(mean, *_bootstrap((data,), np.mean, confidence, resamples, seed))
    effect = shared.effect(data - mean, confidence) if shared else 1.0
    # Wider by the design effect, and as before not beyond the values themselves.
    return _widened(interval, effect, float(data.min()), float(data.max()))


def _widened(interval: Interval, effect: float, least: float = -np.inf, most: float = np.inf) -> Interval:
    """An interval of independent samples, for samples with a design effect; its ends stay between two bounds."""
    if effect == 1.0:
        return interval
    value, low, high = interval
    reach = float(np.sqrt(effect))
    return Interval(
        value,
        float(np.maximum(value - reach * (value - low), least)),
        float(np.minimum(value + reach * (high - value), most)),
    )


def mean_of_means_interval(
    groups: Sequence[Sequence[float]], confidence: float, resamples: int, seed: int, shared: Dependence | None = None
) -> Interval:
    """Mean of the groups' means, each group counting alike, with a percentile bootstrap interval over samples.

    The first samples of all groups are drawn together, as are the second ones, and so on: they may ask for the same in other
    words, and then they miss alike. Where they do not, it makes no difference.

    Args:
        groups: the values of each group.
        confidence: level of the interval.
        resamples: number of resamples.
        seed: their seed.
        shared: what the samples of one number have in common with those of another.

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
    influence = np.concatenate([stratum - stratum.mean() for stratum in strata])
    effect = shared.effect(influence, confidence) if shared else 1.0
    # SciPy refuses a stratum of a single value, which stays as it is in every resample.
    fixed = sum(float(stratum[0]) for stratum in strata if stratum.size == 1)
    varied = tuple(stratum for stratum in strata if stratum.size > 1)

    def total(*drawn: Array, axis: int = -1) -> Any:
        return np.sum([values.sum(axis=axis) for values in drawn], axis=0) + fixed

    interval = Interval(value, *_bootstrap(varied, total, confidence, resamples, seed, paired=False))
    ends = [float(np.mean([pick(values) for values in data])) for pick in (np.min, np.max)]
    return _widened(interval, effect, *ends)


def t_interval(values: Sequence[float], confidence: float) -> Interval:
    """Mean with Student's t interval, for few values such as one a seed; no interval for a single one."""
    from scipy import stats

    data = np.asarray(values, dtype=np.float64)
    if data.size < 2:
        return Interval(float(data.mean()) if data.size else NAN, NAN, NAN)
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, data.size - 1) * stats.sem(data))
    return Interval(float(data.mean()), float(data.mean()) - reach, float(data.mean()) + reach)


def rate_interval(successes: int, trials: int, confidence: float, effect: float = 1.0) -> Interval:
    """Rate with a Wilson score interval of trials / effect samples; NaN without trials."""
    from scipy import stats

    if trials == 0:
        return Interval(np.nan, np.nan, np.nan)
    rate, count, z = successes / trials, trials / effect, float(stats.norm.ppf(0.5 + confidence / 2.0))
    middle = (rate + z**2 / (2.0 * count)) / (1.0 + z**2 / count)
    reach = z / (1.0 + z**2 / count) * float(np.sqrt(rate * (1.0 - rate) / count + z**2 / (4.0 * count**2)))
    # Rounding must not leave a rate of 0 or 1 outside of its own interval.
    return Interval(rate, float(np.clip(middle - reach, 0.0, rate)), float(np.clip(middle + reach, rate, 1.0)))


def mean_of_rates_interval(
    groups: Sequence[Sequence[bool]], confidence: float, effects: Sequence[float] | None = None
) -> Interval:
    """Mean of the groups' rates, each counting alike, with an interval made of their Wilson intervals.

    The distances of the rates to the ends of their intervals are combined as standard errors would be (MOVER): unlike a
    bootstrap's, the interval has a width where no sample succeeds. Source: Zou and Donner 2008, doi 10.1002/sim.3095. As in
    `mean_of_means_interval`, the groups' n-th samples may succeed together. Of a group in which all succeed, or none, nothing
    tells; it counts as fully dependent on the others, which makes the interval widest.

    Args:
        groups: whether each sample succeeds.
        confidence: level of the interval.
        effects: the design effect of each group; 1 without them.

    Returns:
        NaN without groups, or where one is empty.
    """
    if not groups or not all(groups):
        return Interval(NAN, NAN, NAN)
    rates = np.array(
        [
            rate_interval(sum(held), len(held), confidence, effect)
            for held, effect in zip(groups, effects or [1.0] * len(groups), strict=True)
        ]
    )
    together = np.array([[_correlation_of_rates(one, other) for other in groups] for one in groups])
    np.fill_diagonal(together, 1.0)
    mean = float(rates[:, 0].mean())
    below, above = (
        # Estimated from unequal numbers of samples, correlations may add up to less than nothing.
        float(np.sqrt(np.maximum(0.0, reach @ together @ reach))) / len(groups)
        for reach in (rates[:, 0] - rates[:, 1], rates[:, 2] - rates[:, 0])
    )
    return Interval(mean, mean - below, mean + above)


def _correlation_of_rates(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Correlation of two rates, whose first samples belong together as far as both go; at most where one does not vary."""
    common = min(len(first), len(second))
    one, other = (np.asarray(held[:common], dtype=np.float64) for held in (first, second))
    alike = float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else 1.0
    return alike * common / float(np.sqrt(len(first) * len(second)))


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
    targets: Sequence[float],
    shares: Sequence[float],
    confidence: float,
    resamples: int,
    seed: int,
    shared: Dependence | None = None,
) -> Interval:
    """`control_slope` with a percentile bootstrap interval over samples; resamples without two different targets are left out."""
    x, y = _defined_pairs(targets, shares)
    if np.unique(x).size < 2:
        return Interval(NAN, NAN, NAN)
    interval = Interval(float(_slopes(x, y)), *_bootstrap((x, y), _slopes, confidence, resamples, seed))
    if shared is None:
        return interval
    centred = x - x.mean()
    influence = centred * (y - y.mean() - interval.value * centred)
    return _widened(interval, shared.of(np.flatnonzero(~np.isnan(shares)).tolist()).effect(influence, confidence))


def slope_difference(
    targets: Sequence[float],
    before: Sequence[float],
    after: Sequence[float],
    confidence: float,
    resamples: int,
    seed: int,
    shared: Dependence | None = None,
) -> Interval:
    """Slope after minus slope before, with a bootstrap interval over the samples that both have a share for."""
    # A slope is linear in the shares, so the difference of slopes is the slope of the differences.
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    return slope_interval(targets, differences.tolist(), confidence, resamples, seed, shared)


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


def standard_deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1 in the denominator); NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
