import pytest

from outctl.tasks.shares import named_shares


def test_shares_are_written_in_every_way() -> None:
    first, second = named_shares(["ark", "atom"], [70, 30])
    assert (first.word, first.percent, first.fraction, first.decimal, first.spelled) == (
        "ark",
        70,
        "7/10",
        "0.7",
        "seventy",
    )
    assert (first.part, second.part) == (7, 3)


@pytest.mark.parametrize(
    ("percents", "parts"), [([50, 50], [1, 1]), ([5, 95], [1, 19]), ([40, 40, 20], [2, 2, 1]), ([65, 35], [13, 7])]
)
def test_odds_are_in_lowest_terms(percents: list[int], parts: list[int]) -> None:
    assert [share.part for share in named_shares(["a", "b", "c"][: len(percents)], percents)] == parts
