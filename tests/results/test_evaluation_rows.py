"""Rows of the tables of evaluations beside the cases, worked out by hand."""

import math
from collections.abc import Sequence

import pytest

from outctl.config.statistics import Statistics
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.metrics.paired import mcnemar_pvalue
from outctl.results.evaluation_rows import summarise_deviation


def records(variant: str, positions: Sequence[int | None]) -> list[DeviationRecord]:
    """Answers that deviate at these positions, with a word that the reference would not say; the window is 5 to 9."""
    found = []
    for number, position in enumerate(positions):
        inside = position is not None and 4 < position < 10
        found.append(
            DeviationRecord(
                sample_id=f"sample-{number}",
                model="small",
                variant=variant,
                source="excerpt" if number % 2 else "pattern",
                name="text",
                wait=4,
                window=6,
                answer="a b c",
                position=position,
                in_window=inside,
                deviating_word=None if position is None else "x",
                reference_words=["a"] if inside else [],
                surprising=True if inside else None,
                passed=inside,
            )
        )
    return found


def test_breaking_off_is_compared_with_the_baseline_by_sample() -> None:
    baseline = records("baseline", [5, 1, 2, None, 3, 12, 7, 1])
    tuned = records("tuned", [1, 5, 6, 7, 9, 5, 8, None])
    row = summarise_deviation(tuned, baseline, Statistics())
    assert (row.num_passed, row.num_gained, row.num_lost) == (6, 5, 1)
    assert row.pass_rate_difference == pytest.approx(6 / 8 - 2 / 8)
    assert row.pass_rate_difference_low < row.pass_rate_difference < row.pass_rate_difference_high <= 1.0
    assert row.passed_p == pytest.approx(mcnemar_pvalue([True, *[False] * 5], [False, *[True] * 5]))


def test_that_no_answer_changed_is_not_certainty_that_none_would() -> None:
    failing = [1] * 8
    row = summarise_deviation(records("tuned", failing), records("baseline", failing), Statistics())
    assert (row.pass_rate_difference, row.num_gained, row.num_lost) == (0.0, 0, 0)
    assert -row.pass_rate_difference_low == row.pass_rate_difference_high == pytest.approx(row.pass_rate_high)


def test_a_baseline_is_not_compared_with_itself() -> None:
    found = records("baseline", [5, 1, None])
    row = summarise_deviation(found, found, Statistics())
    assert (row.num_passed, row.median_position) == (1, 3.0)
    undefined = (row.num_gained, row.num_lost, row.pass_rate_difference, row.pass_rate_difference_low, row.passed_p)
    assert all(math.isnan(value) for value in undefined)
