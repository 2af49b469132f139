"""The published rule, and its faults, each of which the strict metrics do not share."""

import pytest

from outctl.metrics.sad import DROPPED, sad_score

REST = [(f"<{number}>", 0.0) for number in range(10)]


def by_rule(
    tokens: list[tuple[str, float]], target: tuple[float, float], words: list[str] | None = None
) -> tuple[float, bool]:
    scored = sad_score([*tokens, *REST], target, 0.1, words)
    assert scored is not None
    return pytest.approx(scored.tvd), scored.within_tolerance


def test_a_perfect_answer_passes_when_the_first_share_is_the_larger() -> None:
    assert by_rule([("ark", 0.7), ("atom", 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, True)


def test_a_perfect_answer_fails_when_the_first_share_is_the_smaller() -> None:
    assert by_rule([("atom", 0.7), ("ark", 0.3)], (0.3, 0.7), ["ark", "atom"]) == (0.4, False)


def test_an_answer_with_the_shares_exchanged_passes() -> None:
    assert by_rule([("atom", 0.7), ("ark", 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, True)


def test_two_pieces_of_one_word_pass_for_two_words() -> None:
    assert by_rule([("at", 0.7), ("om", 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, True)


def test_mass_elsewhere_does_not_count() -> None:
    tokens = [("ark", 0.65), ("atom", 0.25), ("The", 0.1)]
    assert by_rule(tokens, (0.7, 0.3), ["ark", "atom"]) == (0.05, True)


def test_words_with_a_common_first_token_cannot_be_told_apart() -> None:
    assert by_rule([("ar", 1.0), ("b", 0.0)], (0.5, 0.5), ["ark", "arm"]) == (0.5, False)


@pytest.mark.parametrize("token", sorted(DROPPED))
def test_the_eight_tokens_are_dropped_before_the_two_likeliest_are_taken(token: str) -> None:
    assert by_rule([(token, 0.5), ("ark", 0.3), ("atom", 0.2)], (0.3, 0.2), ["ark", "atom"]) == (0.0, True)


def test_white_space_around_a_token_is_ignored() -> None:
    assert by_rule([(" ark", 0.7), ("atom\n", 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, True)


@pytest.mark.parametrize("blank", ["", " ", "\n\n"])
def test_a_token_of_white_space_alone_is_part_of_no_word(blank: str) -> None:
    assert by_rule([("ark", 0.7), (blank, 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, False)
    assert by_rule([("ark", 0.7), (blank, 0.3)], (0.7, 0.3)) == (0.0, True)


def test_any_tokens_pass_where_the_model_picks_the_words() -> None:
    assert by_rule([("%", 0.7), ("?", 0.3)], (0.7, 0.3), None) == (0.0, True)
    assert by_rule([("%", 0.7), ("?", 0.3)], (0.7, 0.3), ["ark", "atom"]) == (0.0, False)


def test_samples_with_other_than_two_shares_have_no_score() -> None:
    assert sad_score([("ark", 1.0), *REST], (0.5, 0.3, 0.2), 0.1, None) is None


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        sad_score([("The", 0.9), ("ark", 0.1)], (0.7, 0.3), 0.1, None)
