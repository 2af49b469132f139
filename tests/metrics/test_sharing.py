"""Design effects: worked out by hand, and how often intervals of samples that share words cover."""

import math

import numpy as np
import pytest
from scipy import stats

from outctl.metrics.sharing import Sharing, effect_on_mean
from outctl.metrics.statistics import mean_interval, mean_of_means_interval, slope_interval


def test_clusters_of_equal_values_are_worth_one_sample_each() -> None:
    # Three topics with four questions each, which are missed alike.
    shared = Sharing([{topic} for topic in "abc" for _ in range(4)])
    values = np.repeat([0.1, 0.2, 0.6], 4)
    # Variance of the mean: of the three topics' means with n - 1 = 2, and of twelve samples with 11.
    by_topic, by_sample = np.var([0.1, 0.2, 0.6], ddof=1) / 3, np.var(values, ddof=1) / 12
    quantiles = stats.t.ppf(0.975, 2) / stats.t.ppf(0.975, 11)
    assert effect_on_mean(shared, 0.95, values) == pytest.approx(by_topic / by_sample * quantiles**2)


def test_pairs_of_words_count_once_however_much_they_share() -> None:
    shared = Sharing([{"a", "b"}, {"b", "c"}, {"d", "e"}, {"a", "b"}, {"f", "g"}])
    u = np.array([0.3, 0.2, -0.4, 0.1, -0.2])
    pairs = {(0, 1), (0, 3), (1, 3)}
    dependent = sum(u**2) + 2 * sum(u[i] * u[j] for i, j in pairs)
    # 11 of the 25 ordered pairs are the same sample or share a word.
    expected = dependent / (1 - 11 / 25) / (sum(u**2) / (1 - 1 / 5))
    # Ten words, b thrice and a twice: 10² / (9 + 4 + 5) = 5.6 clusters, no more than there are samples.
    assert shared.effect(u, 0.95) == pytest.approx(expected)


def test_what_shares_nothing_or_varies_against_its_topics_is_worth_as_many_samples() -> None:
    values = [0.1, 0.9, 0.3, 0.7]
    assert effect_on_mean(None, 0.95, values) == 1.0
    assert effect_on_mean(Sharing([set()] * 4), 0.95, values) == 1.0
    assert effect_on_mean(Sharing([{"a"}, {"b"}, {"c"}, {"d"}]), 0.95, values) == 1.0
    # Within each topic one is as much too high as the other is too low.
    opposed = effect_on_mean(Sharing([{"a"}, {"a"}, {"b"}, {"b"}]), 0.95, values)
    assert opposed == pytest.approx((stats.t.ppf(0.975, 1) / stats.t.ppf(0.975, 3)) ** 2)
    # Verdicts that are all alike have the effect of the distances behind them.
    shared = Sharing([{"a"}, {"a"}, {"b"}, {"b"}])
    distances = [0.1, 0.1, 0.4, 0.5]
    assert effect_on_mean(shared, 0.95, [False] * 4, distances) == effect_on_mean(shared, 0.95, distances) > opposed


def test_a_single_topic_is_all_that_an_estimate_is_about() -> None:
    values = [0.1, 0.4, 0.2]
    assert mean_interval(values, 0.95, 100, 0, Sharing([{"a"}] * 3)) == mean_interval(values, 0.95, 100, 0)


def test_where_all_share_with_all_nothing_tells_about_others() -> None:
    interval = mean_interval([0.1, 0.4, 0.2], 0.95, 100, 0, Sharing([{"a", "b"}, {"a", "c"}, {"b", "c"}]))
    assert interval.value == pytest.approx(0.7 / 3)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_samples_and_their_subjects_are_as_many() -> None:
    with pytest.raises(ValueError, match="2 samples, and subjects of 1"):
        Sharing([{"a"}]).effect([0.1, 0.2], 0.95)


@pytest.mark.parametrize(("units", "each", "share"), [(12, 1, 0.4), (23, 2, 0.3)], ids=["topics", "letters"])
def test_intervals_of_samples_that_share_cover_as_often_as_they_say(units: int, each: int, share: float) -> None:
    random = np.random.default_rng(0)
    drawn = np.array([random.choice(units, each, replace=False) for _ in range(90)])
    shared = Sharing([{str(unit) for unit in own} for own in drawn])
    alone = aware = 0
    for trial in range(100):
        missed = random.normal(0.0, math.sqrt(share / each), units)[drawn].sum(axis=1)
        values = missed + random.normal(0.0, math.sqrt(1 - share), 90)
        independent = mean_interval(values, 0.9, 200, trial)
        interval = mean_interval(values, 0.9, 200, trial, shared)
        alone += independent.low <= 0.0 <= independent.high
        aware += interval.low <= 0.0 <= interval.high
    assert alone <= 75
    assert 83 <= aware <= 97


def test_slopes_of_topics_have_intervals_over_topics() -> None:
    random = np.random.default_rng(1)
    shared = Sharing([{str(number % 10)} for number in range(80)])
    alone = aware = 0
    for trial in range(100):
        # Each topic has targets and an offset of its own.
        asked = np.tile(random.uniform(0.1, 0.9, 10), 8)
        given = 0.5 * asked + np.tile(random.normal(0.0, 0.1, 10), 8) + random.normal(0.0, 0.05, 80)
        independent = slope_interval(asked.tolist(), given.tolist(), 0.9, 200, trial)
        interval = slope_interval(asked.tolist(), given.tolist(), 0.9, 200, trial, shared)
        alone += independent.low <= 0.5 <= independent.high
        aware += interval.low <= 0.5 <= interval.high
    assert alone <= 60
    assert 80 <= aware <= 97


def test_samples_without_a_share_are_left_out_of_what_is_shared() -> None:
    shared = Sharing([{"a"}, {"a"}, {"b"}, {"c"}, {"d"}])
    found = slope_interval([0.1, 0.9, 0.3, 0.5, 0.7], [0.1, float("nan"), 0.2, 0.6, 0.9], 0.95, 200, 0, shared)
    left = slope_interval([0.1, 0.3, 0.5, 0.7], [0.1, 0.2, 0.6, 0.9], 0.95, 200, 0)
    # The one that shared with another has no share, so nothing is shared.
    assert found == left


def test_over_cases_samples_of_one_number_share_what_either_case_asks() -> None:
    one, other = Sharing([{"a"}, {"b"}]), Sharing([{"c"}, {"a"}, {"d"}])
    both = Sharing.by_number([one, other])
    assert both.subjects == [{"a", "c"}, {"a", "b"}, {"d"}]
    values = np.repeat([0.1, 0.2, 0.6, 0.3], 5)
    topics = Sharing([{str(number // 5)} for number in range(20)])
    twice = mean_of_means_interval([values, values], 0.95, 500, 0, Sharing.by_number([topics, topics]))
    assert twice == pytest.approx(mean_interval(values, 0.95, 500, 0, topics))
