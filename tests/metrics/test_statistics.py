import math

import numpy as np
import pytest
from scipy import stats

from outctl.metrics import paired, statistics
from outctl.metrics.paired import sign_flip_pvalue
from outctl.metrics.statistics import (
    Interval,
    control_slope,
    mean_interval,
    mean_of_means_interval,
    mean_of_rates_interval,
    rate_interval,
    slope_difference,
    slope_interval,
    standard_deviation,
)

NAN = float("nan")


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = mean_interval(list(random.normal(3.0, 1.0, size=60)), 0.9, 300, seed=trial)
        covered += interval.low <= 3.0 <= interval.high
    assert 165 <= covered <= 192


def held(successes: int, trials: int) -> list[bool]:
    return [number < successes for number in range(trials)]


def test_a_mean_of_rates_has_an_interval_where_nothing_succeeds_and_covers_as_often_as_it_says() -> None:
    assert mean_of_rates_interval([held(3, 20)], 0.95) == pytest.approx(rate_interval(3, 20, 0.95))
    # Cases in which none succeed may be the same questions in other words: they tell no more than one of them.
    for successes in (0, 50):
        constant = mean_of_rates_interval([held(successes, 50)] * 2, 0.95)
        assert constant == pytest.approx(rate_interval(successes, 50, 0.95))
    # One with 50 of its own and one of twice as many, half of which can be the same: 1 / sqrt(2) of full dependence.
    one, other = rate_interval(0, 50, 0.95).high, rate_interval(0, 100, 0.95).high
    unequal = mean_of_rates_interval([held(0, 50), held(0, 100)], 0.95)
    assert unequal.high == pytest.approx(0.5 * math.sqrt(one**2 + other**2 + 2 * one * other / math.sqrt(2)))
    assert all(
        math.isnan(value)
        for value in (*mean_of_rates_interval([], 0.95), *mean_of_rates_interval([held(1, 2), []], 0.95))
    )
    random = np.random.default_rng(0)
    drawn = zip(random.random((1000, 40)) < 0.02, random.random((1000, 80)) < 0.3, strict=True)
    intervals = [mean_of_rates_interval([few.tolist(), many.tolist()], 0.9) for few, many in drawn]
    assert 880 <= sum(interval.low <= 0.16 <= interval.high for interval in intervals) <= 950


def test_a_mean_of_means_counts_groups_alike_and_keeps_their_sizes() -> None:
    random = np.random.default_rng(0)
    many, few = random.normal(0.0, 1.0, 400).tolist(), random.normal(1.0, 1.0, 25).tolist()
    found = mean_of_means_interval([many, few], 0.95, 4000, 0)
    assert found.value == pytest.approx((np.mean(many) + np.mean(few)) / 2)
    # Half the root of the sum of the squared standard errors, on either side.
    reach = 1.96 * 0.5 * math.sqrt(np.var(many) / 400 + np.var(few) / 25)
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.06)
    # A number that no other has the same groups as stays as it is.
    single = mean_of_means_interval([few, [3.0]], 0.95, 4000, 0)
    assert single.value == pytest.approx((np.mean(few) + 3.0) / 2)
    assert single.high - single.low == pytest.approx(1.96 * math.sqrt(np.var(few) / 25), rel=0.06)
    assert mean_of_means_interval([few], 0.95, 500, 3) == pytest.approx(mean_interval(few, 0.95, 500, 3))


def test_rates_have_the_interval_of_wilson() -> None:
    for successes, trials in ((0, 10), (3, 10), (10, 10), (47, 200)):
        expected = stats.binomtest(successes, trials).proportion_ci(0.9, method="wilson")
        assert rate_interval(successes, trials, 0.9)[1:] == pytest.approx((expected.low, expected.high))
    # Of a design effect of 4, samples are worth a fourth of their number.
    assert rate_interval(40, 80, 0.95, effect=4.0) == pytest.approx(rate_interval(10, 20, 0.95))
    assert math.isnan(rate_interval(3, 10, 0.95, NAN).low)


def test_groups_that_miss_the_same_samples_have_the_interval_of_one_of_them() -> None:
    random = np.random.default_rng(0)
    values, others = random.random(80), random.random(80)
    alone = mean_interval(values.tolist(), 0.95, 4000, 0)
    twice = mean_of_means_interval([values.tolist()] * 2, 0.95, 4000, 0)
    apart = mean_of_means_interval([values.tolist(), others.tolist()], 0.95, 4000, 0)
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)
    rates = [(values < 0.4).tolist(), (others < 0.4).tolist()]
    assert mean_of_rates_interval([rates[0]] * 2, 0.95) == pytest.approx(rate_interval(sum(rates[0]), 80, 0.95))
    narrower = mean_of_rates_interval(rates, 0.95)
    assert narrower.high - narrower.low < 0.8 * np.ptp(rate_interval(sum(rates[0]), 80, 0.95)[1:])
    # The second group succeeds as often, and half of the time where the first does.
    half = mean_of_rates_interval([rates[0], [*rates[0][:40], *rates[1][40:]]], 0.95)
    assert narrower.high - narrower.low < half.high - half.low


def test_the_bootstrap_is_seeded() -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert mean_interval(values, 0.95, 500, seed=1) == mean_interval(values, 0.95, 500, seed=1)
    assert mean_interval(values, 0.95, 500, seed=1) != mean_interval(values, 0.95, 500, seed=2)


def test_what_is_undefined_is_nan() -> None:
    assert all(math.isnan(value) for value in mean_interval([], 0.95, 100, 0))
    assert all(math.isnan(value) for value in mean_of_means_interval([[0.1, 0.2], []], 0.95, 100, 0))
    assert math.isnan(mean_of_means_interval([[0.1], [0.3]], 0.95, 100, 0).low)
    single = mean_interval([0.3], 0.95, 100, 0)
    assert single.value == 0.3
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert all(math.isnan(value) for value in rate_interval(0, 0, 0.95))
    assert math.isnan(standard_deviation([0.3]))
    assert math.isnan(control_slope([0.5, 0.5], [0.2, 0.8]))
    assert math.isnan(control_slope([0.1, 0.9], [NAN, 0.8]))
    assert all(math.isnan(value) for value in slope_interval([0.5, 0.5], [0.2, 0.8], 0.95, 100, 0))
    assert all(math.isnan(value) for value in slope_difference([0.1, 0.9], [NAN, 0.8], [0.1, 0.8], 0.95, 100, 0))


@pytest.mark.filterwarnings("error")
def test_equal_values_have_an_interval_of_no_width_and_nobody_is_warned() -> None:
    assert slope_interval([0.1, 0.5, 0.9], [0.25, 0.25, 0.25], 0.95, 100, 0) == pytest.approx((0.0, 0.0, 0.0))
    assert mean_interval([0.25, 0.25], 0.95, 100, 0) == pytest.approx((0.25, 0.25, 0.25))
    assert mean_interval([0.25, 0.25, 0.25], 0.95, 100, 0) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.0, 0.5), (-1.0, 1.0), (0.4, 0.3)])
def test_the_slope_of_a_line_is_found_and_undefined_points_are_left_out(slope: float, offset: float) -> None:
    targets = [0.05, 0.3, 0.5, 0.95, 0.7]
    shares = [offset + slope * target for target in targets]
    assert control_slope([*targets, 0.2], [*shares, float("nan")]) == pytest.approx(slope)


def test_slopes_need_as_many_targets_as_shares() -> None:
    with pytest.raises(ValueError, match="2 targets and 1 shares"):
        control_slope([0.1, 0.2], [0.1])


def test_the_interval_of_a_slope_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        targets = random.uniform(0.05, 0.95, size=60)
        shares = 0.2 + 0.6 * targets + random.normal(0.0, 0.2, size=60)
        interval = slope_interval(list(targets), list(shares), 0.9, 300, seed=trial)
        covered += interval.low <= 0.6 <= interval.high
    assert 163 <= covered <= 193


def test_an_interval_of_a_slope_outlasts_resamples_of_a_single_target() -> None:
    interval = slope_interval([0.1, 0.1, 0.9], [0.2, 0.1, 0.7], 0.95, 200, seed=0)
    assert interval.low <= interval.value <= interval.high


def test_the_difference_of_slopes_is_that_of_the_samples_that_both_have() -> None:
    targets = [0.1, 0.4, 0.6, 0.9]
    before, after = [0.5, 0.5, NAN, 0.5], [0.1, 0.4, 0.0, 0.9]
    found = slope_difference(targets, before, after, 0.95, 300, seed=0)
    assert found.value == pytest.approx(1.0)
    assert found.low == pytest.approx(1.0)


def test_how_many_resamples_are_held_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.2, 1.0, 60).tolist()

    def found() -> tuple[Interval, float, float]:
        # Flips are drawn of all, and all tried of the first eight.
        drawn, tried = (sign_flip_pvalue([0.0] * len(own), own, 500, 0) for own in (values, values[:8]))
        return mean_interval(values, 0.95, 500, 0), drawn, tried

    at_once = found()
    for module in (statistics, paired):
        monkeypatch.setattr(module, "VALUES_AT_ONCE", 1000)
    assert found() == at_once
