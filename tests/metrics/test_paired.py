"""Differences and tests of answers in pairs."""

import math

import numpy as np
import pytest
from scipy import stats

from outctl.metrics.paired import (
    GAUSSIAN_BOUND,
    gained_and_lost,
    holm,
    mcnemar_pvalue,
    rate_difference,
    sign_flip_pvalue,
)
from outctl.metrics.statistics import rate_interval

NAN = float("nan")


def held(successes: int, trials: int) -> list[bool]:
    return [number < successes for number in range(trials)]


def test_a_difference_of_rates_has_a_width_where_nothing_changed_and_covers_as_often_as_it_says() -> None:
    nothing = rate_difference(held(0, 8), held(0, 8), 0.95)
    assert nothing.value == 0.0
    assert -nothing.low == nothing.high == pytest.approx(rate_interval(0, 8, 0.95).high)
    # 36 held both times, 2 were gained, 12 lost, and none held never: worked out by hand from the formula.
    before = [True] * 48 + [False] * 2
    after = [True] * 36 + [False] * 12 + [True] * 2
    assert rate_difference(before, after, 0.95) == pytest.approx((-0.2, -0.3404, -0.0569), abs=1e-4)
    assert all(math.isnan(value) for value in rate_difference([], [], 0.95))
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        first = random.random(40) < 0.3
        second = np.where(random.random(40) < 0.5, first, random.random(40) < 0.5)
        interval = rate_difference(first.tolist(), second.tolist(), 0.9)
        covered += interval.low <= 0.1 <= interval.high
    assert 880 <= covered <= 950


def test_what_is_undefined_is_nan() -> None:
    assert math.isnan(sign_flip_pvalue([], [], 99, 0))
    assert math.isnan(mcnemar_pvalue([], []))
    assert math.isnan(holm([NAN])[0])
    # Samples that all share with all others tell nothing about further ones.
    assert math.isnan(sign_flip_pvalue([0.5, 0.5], [0.1, 0.2], 99, 0, NAN))
    assert math.isnan(mcnemar_pvalue([True, False], [False, False], NAN))
    assert math.isnan(rate_difference([True, False], [False, False], 0.95, NAN).low)


def test_sign_flips_of_few_pairs_are_all_tried() -> None:
    # Of the 32 ways to sign five differences of one sign, two are as far from zero.
    assert sign_flip_pvalue([0.9] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], 9999, 0) == pytest.approx(2 / 32)


def test_a_single_pair_tells_nothing() -> None:
    assert sign_flip_pvalue([0.9], [0.1], 99, 0) == 1.0


def test_sign_flips_reject_true_hypotheses_as_seldom_as_they_say_and_find_small_differences() -> None:
    random = np.random.default_rng(2)
    base = random.uniform(0.0, 1.0, size=(100, 30))
    noise = random.normal(0.0, 0.05, size=(100, 30))
    rejected = sum(sign_flip_pvalue(a, a + e, 199, 0) < 0.05 for a, e in zip(base, noise, strict=True))
    assert rejected <= 12
    # Paired, a shift of a fifth of the spread between samples is plain.
    assert sign_flip_pvalue(base[0], base[0] + 0.06 + noise[0], 9999, 0) < 0.001


def test_mcnemar_counts_the_samples_that_changed() -> None:
    before, after = [True] * 5 + [False] * 8, [True] * 4 + [False] + [True] * 7 + [False]
    # One lost and seven gained: twice the chance of at most one head in eight throws.
    assert mcnemar_pvalue(before, after) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar_pvalue([True, False], [True, False]) == 1.0


def test_holm_multiplies_by_the_number_of_hypotheses_left() -> None:
    assert holm([0.01, 0.04, NAN, 0.03]) == pytest.approx([0.03, 0.06, NAN, 0.06], nan_ok=True)


def test_few_sign_flips_give_what_scipy_gives() -> None:
    before, after = np.random.default_rng(5).normal(0.0, 1.0, (2, 9))
    expected = stats.permutation_test(
        (after, before), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip_pvalue(before, after, 9999, 0) == pytest.approx(expected.pvalue)


def test_sign_flips_that_none_of_many_reach_are_bounded_and_not_cut_off() -> None:
    # All of 60 equal differences in one direction: two of 2^60 ways to sign them are as far.
    bound = sign_flip_pvalue([0.5] * 60, [0.3] * 60, 999, 0)
    assert 2.0 / 2**60 < bound == pytest.approx(2.0 * GAUSSIAN_BOUND * stats.norm.sf(math.sqrt(60)))
    assert pytest.approx(1.0 / (4.0 * stats.norm.sf(math.sqrt(2.0))), abs=1e-3) == GAUSSIAN_BOUND
    # Where the bound tells less than the draws, it is not taken.
    draws = sign_flip_pvalue([0.0] * 12, [0.1] * 12, 999, 0)
    assert draws == pytest.approx(1.0 / 1000)


def test_the_bound_is_above_every_exact_tail() -> None:
    random = np.random.default_rng(6)
    for _ in range(20):
        values = np.abs(random.normal(0.0, 1.0, 12)) + 0.2
        exact = sign_flip_pvalue(np.zeros(12), values, 2**12, 0)
        drawn = sign_flip_pvalue(np.zeros(12), values, 50, 0)
        assert exact == pytest.approx(2 / 2**12)
        assert exact < drawn


def test_shared_words_make_p_values_larger() -> None:
    random = np.random.default_rng(7)
    values = random.normal(0.4, 1.0, 160)
    alone, shared = (sign_flip_pvalue(np.zeros(160), values, 9999, 0, effect) for effect in (1.0, 4.0))
    # With an effect of 4 the mean is half as many standard errors from 0.
    errors = values.sum() / math.sqrt((values**2).sum())
    assert alone < 0.001
    assert shared == pytest.approx(2 * stats.norm.sf(errors / 2), rel=0.15)
    before, after = held(0, 30), held(16, 30)
    assert gained_and_lost(before, after) == (16, 0)
    # Sixteen gained are worth four: all of four throws on one side.
    assert mcnemar_pvalue(before, after, effect=4.0) == pytest.approx(2 / 2**4)
    # With an effect of 4, 80 samples have the interval of 20 with a fourth of each: held in both, lost, gained, in neither.
    wide, narrow = (
        rate_difference(
            [True] * (both + lost) + [False] * (gained + neither),
            [True] * both + [False] * lost + [True] * gained + [False] * neither,
            0.95,
            worth,
        )
        for both, lost, gained, neither, worth in ((40, 12, 4, 24, 4.0), (10, 3, 1, 6, 1.0))
    )
    assert wide == pytest.approx(narrow)
