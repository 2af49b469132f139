"""Answers in pairs: differences of rates, tests, and their correction for number. Undefined numbers are NaN.

`effect` is the design effect of the paired differences (`outctl.metrics.sharing`): n samples that share words or topics are worth
n / effect. Source: the first-order correction of Rao and Scott 1981, doi 10.1080/01621459.1981.10477633.
"""

from collections.abc import Sequence

import numpy as np

from outctl.metrics.statistics import NAN, VALUES_AT_ONCE, Interval, rate_interval

GAUSSIAN_BOUND = 3.179
"""P(sum a_i s_i >= x) <= 3.179 P(Z >= x) for random signs s_i, sum a_i² = 1 and a normal Z, at every x.
Source: Bentkus and Dzindzalieta 2015, doi 10.3150/14-BEJ603, where the factor is 1 / (4 P(Z >= √2)) = 3.1787."""


def sign_flip_pvalue(
    before: Sequence[float], after: Sequence[float], resamples: int, seed: int, effect: float = 1.0
) -> float:
    """Two-sided p-value of the paired permutation test of equal means.

    Under the hypothesis that it does not matter which of the two answered, each pair's difference is as likely with the
    other sign. Exact where there are few pairs. Elsewhere signs are drawn, and where no draw is as far from 0, the p-value is an
    upper bound that does not end at 1 / resamples: `GAUSSIAN_BOUND`.

    Args:
        before: a value a sample.
        after: its partner's value.
        resamples: number of random sign flips, where not all can be tried.
        seed: seed of the flips.
        effect: design effect of the differences.

    Returns:
        NaN without pairs, 1 for a single one.
    """
    from scipy import stats

    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if not differences.size or np.isnan(effect):
        return NAN
    size = float(np.abs(differences).sum())
    # Sums that only differ by rounding are the same.
    observed = abs(float(differences.sum())) / float(np.sqrt(effect)) - 1e-12 * size
    every = 2**differences.size <= resamples
    total = 2**differences.size if every else resamples
    farther, random = 0, np.random.default_rng(seed)
    at_once = max(1, VALUES_AT_ONCE // differences.size)
    for start in range(0, total, at_once):
        numbers = np.arange(start, min(start + at_once, total))
        if every:
            flipped = ((numbers[:, None] >> np.arange(differences.size)) & 1).astype(bool)
        else:
            flipped = random.random((numbers.size, differences.size)) < 0.5
        sums = differences.sum() - 2.0 * (flipped @ differences)
        farther += int((np.abs(sums) >= observed).sum())
    if every:
        return farther / total
    p_value = (farther + 1) / (total + 1)
    if farther == 0:
        spread = float(np.sqrt((differences**2).sum()))
        return min(p_value, 2.0 * GAUSSIAN_BOUND * float(stats.norm.sf(observed / spread)))
    return p_value


def gained_and_lost(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int]:
    """How many samples of a pair hold after and not before, and how many before and not after."""
    pairs = list(zip(before, after, strict=True))
    return sum(new and not old for old, new in pairs), sum(old and not new for old, new in pairs)


def rate_difference(before: Sequence[bool], after: Sequence[bool], confidence: float, effect: float = 1.0) -> Interval:
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
    was, now = (rate_interval(sum(held), count, confidence, effect) for held in (before, after))
    product = float(both * neither - gained * lost)
    # A positive correlation makes the interval narrower, so it is corrected for continuity.
    product = max(product - effect * count / 2, 0.0) if product > 0 else product
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    phi = product / float(np.sqrt(margins)) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(np.maximum(0.0, one**2 - 2.0 * phi * one * other + other**2)))

    value = now.value - was.value
    below, above = reach(now.value - now.low, was.high - was.value), reach(now.high - now.value, was.value - was.low)
    return Interval(value, value - below, value + above)


def mcnemar_pvalue(before: Sequence[bool], after: Sequence[bool], effect: float = 1.0) -> float:
    """Two-sided exact p-value of McNemar's test: are samples won and samples lost equally likely?

    Samples that share words or topics count as gained / effect and lost / effect; the binomial distribution is continued between
    whole numbers by the incomplete beta function, as by Korn and Graubard 1998.

    Returns:
        1 where no sample changed, NaN without samples.
    """
    from scipy import special

    if not before or np.isnan(effect):
        return NAN
    gained, lost = (count / effect for count in gained_and_lost(before, after))
    fewer, changed = min(gained, lost), gained + lost
    if gained == lost:
        return 1.0
    # P(X <= k) of n throws of a coin is I_(1/2)(n - k, k + 1).
    return min(1.0, 2.0 * float(special.betainc(changed - fewer, fewer + 1.0, 0.5)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method; undefined ones stay NaN and do not count."""
    corrected = np.array(pvalues, dtype=np.float64)
    ascending = np.argsort(corrected)[: np.count_nonzero(~np.isnan(corrected))]
    left = np.arange(len(ascending), 0, -1)
    corrected[ascending] = np.minimum(1.0, np.maximum.accumulate(left * corrected[ascending]))
    return [float(value) for value in corrected]
