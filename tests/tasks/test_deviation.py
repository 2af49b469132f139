"""Samples that ask for a deviation: their design, their words, and their files."""

import json
import re
from collections import Counter
from itertools import islice, pairwise, product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from outctl.errors import OutctlError
from outctl.tasks.deviation import (
    EXCERPT_CUTS,
    FEWEST_WORDS,
    KNOWN,
    MONTHS,
    PATTERN_CUTS,
    PATTERNS,
    WAIT,
    WEEKDAYS,
    WINDOWS,
    DeviationSample,
    draw_deviation_samples,
    question,
    read_deviation_samples,
    sentence_starts,
    write_deviation_samples,
)
from outctl.tasks.excerpts import excerpt_texts

TEXTS = excerpt_texts([])
SAMPLES = draw_deviation_samples(320, TEXTS, seed=1)
ROW: dict[str, Any] = {
    "sample_id": "excerpt-00000",
    "source": "excerpt",
    "name": "zen",
    "messages": [{"role": "user", "content": "Go on: é"}],
    "shown": ["é", "b"],
    "continuation": ["c", "d", "e", "f"],
    "wait": 1,
    "window": 3,
}


def of(source: str) -> list[DeviationSample]:
    return [sample for sample in SAMPLES if sample.source == source]


def numbered(name: str) -> str:
    """A text in which no word comes twice, of sentences of seven words."""
    words = [f"{'W' if i % 7 == 0 else 'w'}{name}{i}{'.' if i % 7 == 6 else ''}" for i in range(300)]
    return " ".join(words)


def test_the_published_design() -> None:
    assert (EXCERPT_CUTS, PATTERN_CUTS, WAIT, WINDOWS) == ((25, 50), (50, 75), 20, (10, 15, 20, 25))
    assert len({sample.sample_id for sample in SAMPLES}) == 320
    assert [sample.source for sample in SAMPLES] == ["excerpt", "pattern"] * 160
    assert {sample.wait for sample in SAMPLES} == {WAIT}


@pytest.mark.parametrize(("source", "cuts"), [("excerpt", EXCERPT_CUTS), ("pattern", PATTERN_CUTS)])
def test_every_eight_samples_hold_every_combination_of_cut_and_window(source: str, cuts: tuple[int, ...]) -> None:
    drawn = [(len(sample.shown), sample.window) for sample in of(source)]
    rounds = [drawn[start : start + 8] for start in range(0, len(drawn), 8)]
    assert all(sorted(part) == sorted(product(cuts, WINDOWS)) for part in rounds)
    assert len({tuple(part) for part in rounds}) > 10


def test_texts_and_kinds_of_pattern_take_turns() -> None:
    names = Counter(sample.name for sample in of("pattern"))
    assert names == dict.fromkeys(PATTERNS, 20)
    for start in range(0, 64, 8):
        assert len({sample.name for sample in of("pattern")[start : start + 8]}) == 8
    assert {sample.name for sample in of("excerpt")[: len(TEXTS)]} == set(TEXTS)


def test_an_excerpt_and_its_continuation_stand_in_the_text() -> None:
    for sample in of("excerpt"):
        text = f" {TEXTS[sample.name]} "
        whole = f" {' '.join(sample.shown + sample.continuation)} "
        assert whole in text
        before = text[: text.index(whole)].rstrip()
        assert before == "" or (before[-1] in ".?!" and sample.shown[0][0].isupper())
        assert len(sample.continuation) == KNOWN or text.endswith(whole)


def test_beginnings_come_first_and_no_excerpt_comes_again_before_it_must() -> None:
    texts = {name: numbered(name) for name in ("a", "b", "c")}
    starts = sum(len(sentence_starts(text.split())) for text in texts.values())
    excerpts = draw_deviation_samples(2 * starts + 6, texts, seed=0)[::2]
    firsts = [sample.shown[0] for sample in excerpts]
    beginnings = {"Wa0", "Wb0", "Wc0"}
    assert set(firsts[:3]) == set(firsts[starts:]) == beginnings
    assert len(set(firsts[:starts])) == starts
    assert firsts[3:30] != sorted(firsts[3:30], key=lambda word: int(word[2:]))


def test_sentences_that_leave_too_few_words_are_no_beginnings() -> None:
    words = ["Yes."] * (FEWEST_WORDS + 2)
    assert sentence_starts(words) == [0, 1, 2]
    assert sentence_starts(["A", "b.", "c", "D?", "E,", "F!", "G", *["x"] * (FEWEST_WORDS - 1)]) == [0, 4, 6]
    assert sentence_starts(words[:FEWEST_WORDS]) == [0]


def elements(name: str, seed: int) -> list[str]:
    return list(islice(PATTERNS[name](Random(seed)), 275))


def rule_holds(name: str, words: list[str]) -> bool:
    """Whether a sequence is a pattern of its kind, told from its words alone."""
    if name in ("letter-cycle", "word-cycle", "doubled-words"):
        period = next(length for length in range(1, 7) if words[length:] == words[:-length])
        one = words[:period]
        if name == "doubled-words":
            return period in (4, 6) and one[::2] == one[1::2] and len(set(one)) == period // 2
        return period in (2, 3, 4) and len(set(one)) == period and all((len(x) == 1) == (name[0] == "l") for x in one)
    if name in ("counting-up", "counting-down"):
        steps = {int(after) - int(before) for before, after in pairwise(words)}
        return len(steps) == 1 and (steps.pop() > 0) == (name == "counting-up") and int(words[-1]) > 0
    if name == "word-and-number":
        counted = {int(after) - int(before) for before, after in pairwise(words[1::2])}
        return len(set(words[::2])) == 1 and words[0].isalpha() and counted == {1}
    names = {"weekdays": WEEKDAYS, "months": MONTHS}[name]
    return all(names[(names.index(before) + 1) % len(names)] == after for before, after in pairwise(words))


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_follow_their_rule_to_the_end(name: str) -> None:
    drawn = [elements(name, seed) for seed in range(60)]
    assert all(rule_holds(name, words) for words in drawn)
    assert len({tuple(words) for words in drawn}) >= 7
    assert drawn == [elements(name, seed) for seed in range(60)]


def test_what_is_shown_of_a_pattern_and_its_continuation_are_one_pattern() -> None:
    for sample in of("pattern"):
        assert len(sample.continuation) == KNOWN
        assert rule_holds(sample.name, sample.shown + sample.continuation)


def test_the_question_says_what_counts_and_ends_with_what_is_shown() -> None:
    for sample in SAMPLES[:32]:
        (message,) = sample.messages
        assert message == {"role": "user", "content": question(sample.shown, sample.source, WAIT, sample.window)}
        instruction, shown = message["content"].split("\n\n")
        assert shown.split() == sample.shown
        numbers = list(map(int, re.findall(r"\d+", instruction)))
        assert numbers == [WAIT, sample.window, WAIT + sample.window]


def test_samples_follow_from_seed_and_texts() -> None:
    assert draw_deviation_samples(320, excerpt_texts([]), seed=1) == SAMPLES
    assert draw_deviation_samples(37, TEXTS, seed=1) == SAMPLES[:37]
    assert draw_deviation_samples(0, TEXTS, seed=1) == []
    other = draw_deviation_samples(320, TEXTS, seed=2)
    for source in ("excerpt", "pattern"):
        same = [a for a, b in zip(SAMPLES, other, strict=True) if a.source == source and a.shown == b.shown]
        assert len(same) < 40


def test_texts_that_are_too_short_or_missing_are_one_line() -> None:
    with pytest.raises(OutctlError, match="there is no text to take excerpts from"):
        draw_deviation_samples(2, {}, seed=0)
    short = "w " * (FEWEST_WORDS - 1)
    with pytest.raises(OutctlError, match=f"text 'short': has {FEWEST_WORDS - 1} words, and {FEWEST_WORDS} are needed"):
        draw_deviation_samples(2, {**TEXTS, "short": short}, seed=0)
    (sample,) = draw_deviation_samples(1, {"just": short + "w"}, seed=0)
    assert len(sample.continuation) >= WAIT + sample.window


def test_samples_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    write_deviation_samples(path, SAMPLES)
    assert read_deviation_samples(path) == SAMPLES
    write_deviation_samples(path, [DeviationSample.model_validate(ROW)])
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == ROW
    assert "é" in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": "poem"}, "source: Input should be 'excerpt' or 'pattern'"),
        ({"shown": []}, "shown: List should have at least 1 item"),
        ({"shown": ["a b"]}, "shown: one of them is empty or has white space in it"),
        ({"continuation": ["c", "d", "", "f", "g"]}, "continuation: one of them is empty or has white space in it"),
        ({"continuation": ["c", "d", "e"]}, "continuation: 3 words for a window that ends at word 4"),
        ({"wait": 0}, "wait: Input should be greater than or equal to 1"),
        ({"window": 1}, "window: Input should be greater than or equal to 2"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"sample_id": "excerpt-00000"}, "sample_id: 'excerpt-00000' stands in line 1 too"),
        ({"case": "a"}, "case: Extra inputs are not permitted"),
    ],
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [ROW, ROW | {"sample_id": "excerpt-00001"} | change]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(OutctlError) as caught:
        read_deviation_samples(path)
    assert str(caught.value).startswith(f"{path} line 2: {text}")
    assert str(caught.value).endswith("; make the samples again")
