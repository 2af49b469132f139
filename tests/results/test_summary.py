"""Slopes, references and what is shared, in rows worked out by hand."""

import math
from collections.abc import Callable, Sequence
from statistics import linear_regression

import pytest

from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.evaluation.references import reference_records
from outctl.evaluation.scoring import score
from outctl.metrics.sharing import Sharing
from outctl.results.comparisons import compare
from outctl.results.model_results import compared, output_control
from outctl.results.summary import SummaryRow, summarise
from outctl.tasks.samples import Sample

FEW = Statistics(bootstrap_samples=200, permutations=199)
REST = [(f"<{number}>", 0.0) for number in range(10)]
EVERY = [[percent / 100, 1.0 - percent / 100] for percent in range(5, 100, 5)]
"""The targets that default questions ask for, each once."""


def questions(targets: Sequence[list[float]], case: str = "given", limit: bool = False) -> list[Sample]:
    return [
        Sample(
            sample_id=f"{case}-{number}",
            case=case,
            messages=[{"role": "user", "content": "?"}],
            words=[f"word{number}-{place}" for place in range(len(target))],
            answers=[["apple"], ["pear", "plum"]] if limit else None,
            target=target,
            at_most=limit,
            tolerance=0.1,
            seed=number,
        )
        for number, target in enumerate(targets)
    ]


def answered(
    asked: Sequence[Sample], answer: Callable[[list[float]], Sequence[float]], variant: str = "tuned"
) -> list[Record]:
    return [
        score(
            one, "small", variant, one.words or [], [math.log(p) if p else -math.inf for p in answer(one.target)], REST
        )
        for one in asked
    ]


def summed(records: Sequence[Record], **others: object) -> SummaryRow:
    return summarise("small", "tuned", "given", records, FEW, 0, **others)  # type: ignore[arg-type]


def test_fixed_shares_by_rank_have_a_slope_and_none_within_ranks() -> None:
    asked = questions(EVERY)
    row = summed(reference_records(asked)["ordinal"])
    # Three quarters for the larger share: off by 0.25 at 50 %, and twice by 0.2, 0.15, 0.1, 0.05 on either side of 75 %.
    assert row.avg_tvd == pytest.approx((0.25 + 2 * 2 * (0.05 + 0.1 + 0.15 + 0.2)) / 19)
    given = [0.25 if first < 0.5 else 0.75 for first, _ in EVERY]
    assert row.control_slope == pytest.approx(linear_regression([first for first, _ in EVERY], given).slope)
    assert 0.7 < row.control_slope < 0.9
    assert (row.within_slope, row.within_slope_low, row.within_slope_high) == pytest.approx((0.0, 0.0, 0.0))
    assert row.avg_tvd < min(
        summed(found).avg_tvd for name, found in reference_records(asked).items() if name != "ordinal"
    )


def test_the_slope_within_ranks_is_of_the_largest_share_where_there_is_one() -> None:
    # Half of what the larger share has beyond 60 % is given beyond 60 %, whichever word it is of; equal shares do not count.
    targets = [[0.6, 0.4], [0.2, 0.8], [0.9, 0.1], [0.5, 0.5]]

    def half(target: list[float]) -> list[float]:
        larger = 0.6 + 0.5 * (max(target) - 0.6)
        return [0.9 * larger, 0.9 * (1 - larger)] if target[0] >= target[1] else [0.9 * (1 - larger), 0.9 * larger]

    row = summed(answered(questions(targets), half))
    assert row.within_slope == pytest.approx(0.5)
    three = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]]
    given = {0.5: [0.4, 0.3, 0.3], 0.1: [0.2, 0.1, 0.7], 0.4: [0.1, 0.1, 0.8]}
    row = summed(answered(questions(three), lambda target: given[target[0]]))
    assert row.within_slope == pytest.approx((0.7 - 0.4) / (0.7 - 0.5))


def test_slopes_of_next_to_no_mass_are_undefined() -> None:
    asked = questions(EVERY)
    for mass, defined in ((0.05, True), (0.049, False)):
        row = summed(answered(asked, lambda target, mass=mass: [mass * share for share in target]))
        slopes = (row.control_slope, row.control_slope_low, row.within_slope, row.within_slope_high)
        assert [slope == slope for slope in slopes] == [defined] * 4
        assert row.avg_conditional_tvd == pytest.approx(0.0)
    silent = answered(asked, lambda target: [0.01, 0.01], "baseline")
    difference = compare(silent, answered(asked, lambda target: target), FEW, 0)
    assert math.isnan(difference.slope_difference)
    assert math.isnan(difference.within_slope_difference)


def test_limits_have_no_slopes() -> None:
    row = summed(answered(questions(EVERY, limit=True), lambda target: target))
    assert math.isnan(row.control_slope)
    assert math.isnan(row.within_slope)


def test_the_best_reference_may_be_the_order_of_the_shares() -> None:
    asked = questions(EVERY)
    # Nearer than an even split, and farther than the best shares by rank.
    records = answered(asked, lambda target: [0.5 + 0.25 * (share - 0.5) for share in target])
    row = summed(records, references=reference_records(asked))
    ordinal = summed(reference_records(asked)["ordinal"]).avg_tvd
    assert row.reference_difference == pytest.approx(row.avg_tvd - ordinal)
    assert row.reference_difference_low > 0.0


def test_shared_words_widen_what_is_said_of_a_variant() -> None:
    # Ten topics of four questions, missed alike.
    asked = questions([[0.5 + 0.04 * (number // 4), 0.5 - 0.04 * (number // 4)] for number in range(40)])
    records = answered(asked, lambda target: [0.5, 0.5])
    shared = Sharing([{str(number // 4)} for number in range(40)])
    alone, aware = summed(records), summed(records, shared=shared)
    assert (alone.design_effect, aware.avg_tvd) == (1.0, alone.avg_tvd)
    assert aware.design_effect > 4.0
    wider = (aware.avg_tvd - aware.avg_tvd_low) / (alone.avg_tvd - alone.avg_tvd_low)
    assert wider == pytest.approx(math.sqrt(aware.design_effect))
    assert aware.accuracy_high - aware.accuracy_low > 1.5 * (alone.accuracy_high - alone.accuracy_low)
    better = answered(asked, lambda target: target)
    p_alone, p_aware = (compare(records, better, FEW, 0, among).tvd_p for among in (None, shared))
    assert p_aware > 10 * p_alone


def test_what_questions_share_is_their_words_or_their_topic() -> None:
    (phrase,) = questions([[0.5, 0.5]])
    assert phrase.model_copy(update={"words": ["Red ark", "old elm"]}).subjects == {"red", "ark", "old", "elm"}
    assert phrase.model_copy(update={"words": None}).subjects == set()
    one, other = questions([[0.1, 0.9], [0.2, 0.8]], limit=True)
    # Whichever of the answers is to be suppressed.
    turned = other.model_copy(update={"answers": [["pear"], ["apple", "plum"]]})
    assert one.subjects == turned.subjects
    assert len(one.subjects) == 1


def test_results_of_a_model_count_a_reference_where_it_means_something_and_topics_once() -> None:
    samples = {"given": questions(EVERY), "limits": questions(EVERY[:8], "limits", limit=True)}
    records = {
        variant: {case: answered(asked, lambda target: [0.5, 0.5], variant) for case, asked in samples.items()}
        for variant in ("baseline", "tuned")
    }
    found = output_control("small", samples, records, [], FEW, 0)
    cases = {row["variant"]: row["num_cases"] for row in found["overall"]}
    assert cases == {"uniform": 2, "majority": 1, "ordinal": 1, "baseline": 2, "tuned": 2}
    # All limits are of one topic, so the case is about that one.
    limits = next(row for row in found["summary"] if (row["variant"], row["case_type"]) == ("tuned", "limits"))
    assert limits["avg_tvd_low"] < limits["avg_tvd"] < limits["avg_tvd_high"]
    assert limits["design_effect"] == 1.0
    alone = output_control(
        "small", {"limits": samples["limits"]}, {"baseline": {"limits": records["baseline"]["limits"]}}, [], FEW, 0
    )
    assert [row["variant"] for row in alone["overall"]] == ["uniform", "baseline"]
    nothing = compared(samples, records, [], [], FEW, 0)
    assert nothing == {"comparisons": [], "seeds": []}
