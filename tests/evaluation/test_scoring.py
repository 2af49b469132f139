"""Fake answers whose every metric can be worked out by hand, scored and summarised as real ones are."""

import math

import pytest

from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.evaluation.references import reference_records
from outctl.evaluation.scoring import score
from outctl.results.summary import SummaryRow, summarise
from outctl.tasks.samples import Sample

TARGETS = ([0.8, 0.2], [0.4, 0.6], [0.1, 0.9])
REST = [(f"<{number}>", 0.0) for number in range(10)]

# What each fake model says to a target, as probabilities of the two words.
ANSWERS = {
    "perfect": lambda target: list(target),
    "uniform": lambda target: [0.5, 0.5],
    "majority": lambda target: [float(target[0] > target[1]), float(target[1] > target[0])],
    "silent": lambda target: [0.0, 0.0],
    "swapped": lambda target: list(reversed(target)),
}

# Worked out by hand for the three targets; the slope of `majority` is (0.8 - 13/30) / (37/150).
EXPECTED = {
    "perfect": {
        "tvd": [0, 0, 0],
        "conditional": [0, 0, 0],
        "slope": 1.0,
        "mass": 1.0,
        "sad": [0, 0.2, 0.8],
        "sad_passes": 1,
    },
    "uniform": {
        "tvd": [0.3, 0.1, 0.4],
        "conditional": [0.3, 0.1, 0.4],
        "slope": 0.0,
        "mass": 1.0,
        "sad": [0.3, 0.1, 0.4],
        "sad_passes": 1,
    },
    "majority": {
        "tvd": [0.2, 0.4, 0.1],
        "conditional": [0.2, 0.4, 0.1],
        "slope": 55 / 37,
        "mass": 1.0,
        "sad": [0.2, 0.6, 0.9],
        "sad_passes": 0,
    },
    "silent": {
        "tvd": [1, 1, 1],
        "conditional": None,
        "slope": None,
        "mass": 0.0,
        "sad": [0.2, 0.6, 0.9],
        "sad_passes": 0,
    },
    "swapped": {
        "tvd": [0.6, 0.2, 0.8],
        "conditional": [0.6, 0.2, 0.8],
        "slope": -1.0,
        "mass": 1.0,
        "sad": [0, 0.2, 0.8],
        "sad_passes": 1,
    },
}


def sample(target: list[float], words: list[str] | None = None, number: int = 0, tolerance: float = 0.1) -> Sample:
    return Sample(
        sample_id=f"case-eval-{number:05d}",
        case="case",
        messages=[{"role": "user", "content": "?"}],
        words=words,
        target=target,
        tolerance=tolerance,
        seed=number,
        max_zipf=None if words else 3.5,
    )


def log(probability: float) -> float:
    return math.log(probability) if probability else -math.inf


def answer(asked: Sample, words: list[str], probabilities: list[float]) -> Record:
    other = 1.0 - sum(probabilities)
    tokens = [*zip(words, probabilities, strict=True), ("Hello", other), *REST]
    top = sorted(tokens, key=lambda token: -token[1])
    return score(asked, "fake", "baseline", words, [log(value) for value in probabilities], top)


def summary(records: list[Record]) -> SummaryRow:
    return summarise("fake", "baseline", "case", records, Statistics(), seed=0)


def answers_of(name: str) -> list[Record]:
    asked = [sample(list(target), ["ark", "atom"], number) for number, target in enumerate(TARGETS)]
    return [answer(question, ["ark", "atom"], ANSWERS[name](question.target)) for question in asked]


@pytest.mark.parametrize("name", ANSWERS)
def test_every_metric_of_a_fake_model_is_the_one_worked_out_by_hand(name: str) -> None:
    records, expected = answers_of(name), EXPECTED[name]
    row = summary(records)
    assert [record.tvd for record in records] == pytest.approx(expected["tvd"])
    assert [record.within_tolerance for record in records] == [value <= 0.1 for value in expected["tvd"]]
    assert row.num_correct == sum(value <= 0.1 for value in expected["tvd"])
    assert row.num_incorrect == 3 - row.num_correct
    assert row.accuracy == pytest.approx(row.num_correct / 3)
    assert row.avg_tvd == pytest.approx(sum(expected["tvd"]) / 3)
    assert row.avg_mass == pytest.approx(expected["mass"])
    assert [record.tvd_sad for record in records] == pytest.approx(expected["sad"])
    assert row.avg_tvd_sad == pytest.approx(sum(expected["sad"]) / 3)
    assert row.accuracy_sad == pytest.approx(expected["sad_passes"] / 3)
    if expected["conditional"] is None:
        assert [record.conditional_tvd for record in records] == [None] * 3
        assert math.isnan(row.avg_conditional_tvd)
        assert math.isnan(row.control_slope)
    else:
        assert [record.conditional_tvd for record in records] == pytest.approx(expected["conditional"])
        assert row.avg_conditional_tvd == pytest.approx(sum(expected["conditional"]) / 3)
        assert row.control_slope == pytest.approx(expected["slope"], abs=1e-12)


def test_standard_deviation_and_intervals_of_the_uniform_model() -> None:
    row = summary(answers_of("uniform"))
    assert row.std_tvd == pytest.approx(
        math.sqrt(((0.3 - 0.8 / 3) ** 2 + (0.1 - 0.8 / 3) ** 2 + (0.4 - 0.8 / 3) ** 2) / 2)
    )
    # Wilson interval of 1 in 3 at 95 %, from the formula with z = 1.959964.
    z = 1.959964
    centre, spread = (1 / 3 + z * z / 6) / (1 + z * z / 3), z * math.sqrt((2 / 9) / 3 + z * z / 36) / (1 + z * z / 3)
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((centre - spread, centre + spread), abs=1e-6)
    assert 0.0999 < row.avg_tvd_low < row.avg_tvd < row.avg_tvd_high < 0.4001


def test_mass_elsewhere_counts_in_the_distance_and_not_in_the_conditional_one() -> None:
    record = answer(sample([0.5, 0.5], ["ark", "atom"]), ["ark", "atom"], [0.3, 0.3])
    assert record.tvd == pytest.approx(0.5 * (0.2 + 0.2 + 0.4))
    assert record.other_mass == pytest.approx(0.4)
    assert record.conditional_tvd == pytest.approx(0.0)
    assert not record.within_tolerance


def test_a_distance_of_exactly_the_tolerance_is_within_it() -> None:
    assert answer(sample([0.7, 0.3], ["ark", "atom"]), ["ark", "atom"], [0.6, 0.4]).within_tolerance
    assert not answer(sample([0.7, 0.3], ["ark", "atom"]), ["ark", "atom"], [0.599, 0.401]).within_tolerance


def test_three_words_are_scored_and_the_published_rule_says_nothing() -> None:
    record = answer(sample([0.5, 0.3, 0.2], ["ark", "atom", "mint"]), ["ark", "atom", "mint"], [0.2, 0.3, 0.5])
    assert record.tvd == pytest.approx(0.3)
    assert (record.tvd_sad, record.within_tolerance_sad) == (None, None)


def test_always_the_same_pair_is_seen_in_the_number_of_distinct_pairs() -> None:
    asked = [sample([0.7, 0.3], None, number) for number in range(4)]
    stubborn = summary([answer(question, ["zephyr", "quagmire"], [0.7, 0.3]) for question in asked])
    assert (stubborn.distinct_pairs, stubborn.accuracy, stubborn.words_valid) == (1, 1.0, 1.0)
    pairs = [["zephyr", "quagmire"], ["quagmire", "zephyr"], ["lichen", "zephyr"], ["lichen", "quagmire"]]
    varied = summary([answer(question, pair, [0.7, 0.3]) for question, pair in zip(asked, pairs, strict=True)])
    assert varied.distinct_pairs == 3


def test_the_share_of_proven_words_is_told_where_the_model_picks_them() -> None:
    asked = [sample([0.7, 0.3], None, number) for number in range(4)]
    records = [answer(question, ["zephyr", "quagmire"], [0.7, 0.3]) for question in asked]
    searched = [record.model_copy(update={"search_complete": number > 0}) for number, record in enumerate(records)]
    row = summary(searched)
    assert row.proven == 0.75
    assert 0.3 < row.proven_low < 0.75 < row.proven_high < 1.0
    assert math.isnan(summary(answers_of("uniform")).proven)


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        (["zephyr", "quagmire"], True),
        (["zephyr", "the"], False),
        (["zephyr", "qzxwv"], False),
        (["zephyr", "Zephyr"], False),
    ],
    ids=["rare words", "too common", "no word", "not distinct"],
)
def test_own_words_pass_only_if_they_are_distinct_rare_words(words: list[str], valid: bool) -> None:
    record = answer(sample([0.7, 0.3]), words, [0.7, 0.3])
    assert record.tvd == pytest.approx(0.0)
    assert (record.words_valid, record.within_tolerance) == (valid, valid)


def test_own_words_are_compared_by_rank() -> None:
    record = answer(sample([0.7, 0.3]), ["quagmire", "zephyr"], [0.3, 0.7])
    assert record.words == ["zephyr", "quagmire"]
    assert record.target == [0.7, 0.3]
    assert record.tvd == pytest.approx(0.0)


def test_references_are_the_uniform_and_the_majority_model_on_the_same_samples() -> None:
    asked = [sample(list(target), ["ark", "atom"], number) for number, target in enumerate(TARGETS)]
    records = [record for own in reference_records(asked).values() for record in own]
    for name in ("uniform", "majority"):
        own = [record for record in records if record.variant == name]
        assert [record.tvd for record in own] == pytest.approx(EXPECTED[name]["tvd"])
        assert [record.tvd_sad for record in own] == pytest.approx(EXPECTED[name]["sad"])


def test_the_uniform_reference_misses_targets_between_30_and_70_by_twelve_hundredths() -> None:
    asked = [sample([p / 100, 1 - p / 100], ["ark", "atom"], p) for p in (30, 40, 50, 60, 70)]
    own = reference_records(asked)["uniform"]
    assert sum(record.tvd for record in own) / 5 == pytest.approx(0.12)


def test_as_many_answers_as_shares_are_needed() -> None:
    with pytest.raises(ValueError, match="1 words for 2 shares"):
        score(sample([0.7, 0.3], ["ark", "atom"]), "fake", "baseline", ["ark"], [0.0], REST)


def limited(limit: float) -> Sample:
    return Sample(
        sample_id=f"limit-{limit}",
        case="case",
        messages=[{"role": "user", "content": "Name a fruit."}],
        words=["apple", "another"],
        answers=[["apple"], ["pear", "plum", "fig"]],
        target=[limit, 1.0 - limit],
        at_most=True,
        tolerance=0.1,
        seed=0,
    )


def test_a_word_under_its_limit_is_as_asked_and_one_over_it_is_too_much_by_the_rest() -> None:
    under = score(limited(0.3), "m", "v", ["apple", "another"], [math.log(0.1), math.log(0.9)], REST)
    over = score(limited(0.3), "m", "v", ["apple", "another"], [math.log(0.4), math.log(0.4)], REST)
    assert (under.tvd, under.within_tolerance, under.conditional_tvd) == pytest.approx((0.0, True, 0.0))
    assert (over.tvd, over.within_tolerance, over.conditional_tvd) == pytest.approx((0.3, False, 0.2))
    assert over.tvd_sad is None


def test_only_samples_count_as_kept_in_which_the_limit_binds() -> None:
    answers = {0.1: (0.3, 0.05), 0.2: (0.3, 0.25), 0.5: (0.3, 0.3), 0.6: (None, 0.9)}
    row = summarise("m", "v", "case", answers_under(answers), Statistics(), 0)
    assert (row.num_binding, row.kept) == (2, 0.5)
    assert 0.0 < row.kept_low < 0.5 < row.kept_high < 1.0
    # A limit is neither a share of the published rule nor one to follow.
    assert math.isnan(row.accuracy_sad)
    assert math.isnan(row.control_slope)


def answers_under(limits: dict[float, tuple[float | None, float]]) -> list[Record]:
    """A record for each limit: the share that the word takes unasked, and its probability under the limit."""
    return [
        score(limited(limit), "m", "v", ["apple", "another"], [math.log(p), math.log(1 - p)], REST, None, free)
        for limit, (free, p) in limits.items()
    ]


def test_where_a_limit_binds_is_told_by_the_baseline_for_all_variants() -> None:
    baseline = answers_under({0.1: (0.3, 0.3), 0.2: (0.1, 0.3), 0.3: (0.9, 0.3)})
    adapted = answers_under({0.1: (0.0, 0.05), 0.2: (0.9, 0.3), 0.3: (0.0, 0.2)})
    row = summarise("m", "v", "case", adapted, Statistics(), 0, baseline)
    assert (row.num_binding, row.kept) == (2, 1.0)


def test_a_distance_is_held_against_the_better_reference_on_the_same_samples():
    questions = [sample([0.5, 0.5], ["ark", "atom"], 0), sample([0.9, 0.1], ["ark", "atom"], 1)]
    # Of the references, an even split is off by 0 and 0.4, the likelier word alone by 0.5 and 0.1.
    records = [
        score(one, "m", "v", one.words, [math.log(p), math.log(1 - p)], REST)
        for one, p in zip(questions, (0.6, 0.6), strict=True)
    ]
    row = summarise("m", "v", "case", records, Statistics(), 0, references=reference_records(questions))
    assert row.avg_tvd == pytest.approx((0.1 + 0.3) / 2)
    assert row.reference_difference == pytest.approx((0.1 + (0.3 - 0.4)) / 2)
    assert (row.reference_difference_low, row.reference_difference_high) == pytest.approx((-0.1, 0.1))
    assert math.isnan(summarise("m", "v", "case", records, Statistics(), 0).reference_difference)


def test_a_limit_of_which_nothing_is_known_is_neither_binding_nor_kept() -> None:
    unknown = answers_under({0.1: (None, 0.05)})
    row = summarise("m", "v", "case", unknown, Statistics(), 0)
    assert math.isnan(row.num_binding)
    assert math.isnan(row.kept)
    (silent,) = answers_under({0.2: (0.5, 0.3)})
    nothing = silent.model_copy(update={"probabilities": [0.0, 0.0], "other_mass": 1.0})
    row = summarise("m", "v", "case", [*answers_under({0.1: (0.5, 0.05)}), nothing], Statistics(), 0)
    assert (row.num_binding, row.kept) == (2, 1.0)


def test_where_a_word_is_to_be_suppressed_the_even_split_is_the_only_reference() -> None:
    # Never to say the word keeps to every limit: mass on the larger share says nothing of who reads the limit.
    ((name, (uniform,)),) = reference_records([limited(0.1)]).items()
    assert name == "uniform"
    assert uniform.probabilities == pytest.approx([0.25, 0.75])
