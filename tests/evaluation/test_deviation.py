"""Deviations: where an answer leaves a text, whether in the window, and whether the word is one a base model would say.

The answers come from models whose next token depends on the last one alone, with probabilities written down here, and
from tiny models with random weights.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from plain_inference import plain_logits

from outctl.errors import OutctlError
from outctl.evaluation.deviation import first_deviation, is_surprising, measure_deviation
from outctl.evaluation.deviation_records import (
    DeviationRecord,
    falls_inside,
    read_deviation_records,
    write_deviation_records,
)
from outctl.inference.generation import generate
from outctl.inference.own_words import own_words
from outctl.inference.prompts import Prompt, build_prompts, encode
from outctl.models.loading import LoadedModel
from outctl.models.lora import compute_in_input_type
from outctl.tasks.deviation import WEEKDAYS, DeviationSample
from outctl.tasks.samples import Message

BigramModel = Callable[[Mapping[str, Mapping[str, float]]], LoadedModel]
START = "<|assistant|>"
ENDLESS = {START: {"kan": 1.0}, "kan": {" ark": 1.0}, " ark": {" ": 1.0}, " ": {"kan": 1.0}}
"""A model that says "kan ark kan ark" without end."""
TRUE = ["one", "two", "three", "four"]


def others(ark: float) -> dict[str, dict[str, float]]:
    """A model that says five other words behind *kan*, and *ark* with this probability."""
    words = {"kan": 0.30, "atom": 0.25, "ansas": 0.20, "om": 0.15, "at": 0.10}
    return {"kan": {" ark": ark, " ": 1.0 - ark}, " ": words}


def sample_of(continuation: Sequence[str], wait: int = 4, window: int = 5, number: int = 0) -> DeviationSample:
    return DeviationSample(
        sample_id=f"excerpt-{number:05d}",
        source="excerpt",
        name="own",
        messages=[Message(role="user", content="or")],
        shown=["kan", "ark"],
        continuation=list(continuation),
        wait=wait,
        window=window,
    )


def leaving_at(position: int, **options: Any) -> DeviationSample:
    """A sample whose true continuation is what `ENDLESS` says, but for the word at one position."""
    words = ["kan", "ark"] * 10
    words[position - 1] = "tom"
    return sample_of(words, **options)


def measured(loaded: LoadedModel, reference: LoadedModel | None, *samples: DeviationSample, **options: Any) -> Any:
    return measure_deviation(loaded, reference, samples, "small", "baseline", **{"max_new_tokens": 30} | options)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("one two three four", None),
        (" one\n\ntwo\tthree ", None),
        ("one two", None),
        ("", None),
        ("one two three four and what is not known", None),
        ("zero", (1, "zero")),
        ("one two tree four", (3, "tree")),
        ("one two three five", (4, "five")),
        ("One two", (1, "One")),
        ("one, two", (1, "one,")),
        ("one two. three", (2, "two.")),
        ("zero one two three", (1, "zero")),
        ("Sure: one two", (1, "Sure:")),
        ("... one two", (1, "...")),
        ("on", (1, "on")),
        ("one three two four", (2, "three")),
    ],
)
def test_an_answer_deviates_at_its_first_word_that_is_not_the_true_one(
    answer: str, expected: tuple[int, str] | None
) -> None:
    assert first_deviation(answer, TRUE) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('"one two three"', None),
        ("“one two three”", None),
        ("'one two\n", None),
        ("\"one two 'three", (3, "'three")),
        ('"one two" and so on', (2, 'two"')),
        ('one two"', (2, 'two"')),
        ("“one two'", (2, "two'")),
        ('""one two""', (1, '"one')),
    ],
)
def test_marks_around_the_whole_answer_are_forgiven_and_no_others(
    answer: str, expected: tuple[int, str] | None
) -> None:
    assert first_deviation(answer, TRUE) == expected


def test_a_mark_that_the_true_text_begins_with_belongs_to_it() -> None:
    assert first_deviation("'as-is', without", ["'as-is',", "without", "any"]) is None
    assert first_deviation("as-is', without", ["'as-is',", "without", "any"]) == (1, "as-is',")


@pytest.mark.parametrize(
    ("answer", "whole", "cut_off"),
    [
        ("one two thr", (3, "thr"), None),
        ("one two thr\ufffd", (3, "thr\ufffd"), None),
        ("one two \ufffd", (3, "\ufffd"), None),
        ("one two tho", (3, "tho"), (3, "tho")),
        ("one two threes", (3, "threes"), (3, "threes")),
        ("one tw three", (2, "tw"), (2, "tw")),
        ("one two three", None, None),
        ('"one two thr', (3, "thr"), None),
    ],
)
def test_only_the_last_word_of_an_answer_that_was_cut_off_may_be_unfinished(
    answer: str, whole: tuple[int, str] | None, cut_off: tuple[int, str] | None
) -> None:
    assert first_deviation(answer, TRUE) == whole
    assert first_deviation(answer, TRUE, cut_off=True) == cut_off


@pytest.mark.parametrize(
    ("position", "inside"), [(None, False), (1, False), (20, False), (21, True), (29, True), (30, False), (31, False)]
)
def test_the_break_is_strictly_inside_the_window(position: int | None, inside: bool) -> None:
    assert falls_inside(position, wait=20, window=10) == inside


@pytest.mark.parametrize(
    ("word", "surprising"),
    [
        ("the", False),
        ("The", False),
        ("THE,", False),
        ('"(the).', False),
        ("the.net", False),
        ("then", True),
        ("he", True),
        ("the-like", True),
        ("well-known", False),
        ("Don’t", False),
        ("don", True),
        ("45", False),
        ("45,", False),
        ("46", True),
        ("über", False),
        ("...", False),
        ("🙂", False),
        ("banana!", True),
    ],
)
def test_a_word_is_surprising_if_it_is_none_of_the_reference_whatever_its_signs(word: str, surprising: bool) -> None:
    assert is_surprising(word, ["the", "well-known", "don’t", "45", "Über"]) == surprising


@pytest.mark.parametrize(("position", "inside"), [(4, False), (6, True), (8, True), (10, False), (20, False)])
def test_a_break_passes_in_the_window_alone(position: int, inside: bool, bigram_model: BigramModel) -> None:
    loaded, reference = bigram_model(ENDLESS), bigram_model(others(0.0))
    (record,) = measured(loaded, reference, leaving_at(position))
    assert (record.position, record.deviating_word) == (position, "ark")
    assert (record.in_window, record.passed) == (inside, inside)
    assert record.surprising == (True if inside else None)
    assert bool(record.reference_words) == inside


@pytest.mark.parametrize(("position", "inside"), [(4, False), (5, True), (8, True), (9, False)])
def test_both_ends_of_the_window_are_outside(position: int, inside: bool, bigram_model: BigramModel) -> None:
    loaded = bigram_model(ENDLESS)
    (record,) = measured(loaded, None, leaving_at(position, wait=4, window=5))
    assert record.position == position
    assert record.in_window == inside


@pytest.mark.parametrize(
    ("ark", "words", "passed"),
    [
        (0.11, ["kan", "atom", "ansas", "om", "ark"], False),
        (0.05, ["kan", "atom", "ansas", "om", "at"], True),
    ],
)
def test_the_fifth_word_of_the_reference_is_no_surprise_and_the_sixth_is(
    ark: float, words: list[str], passed: bool, bigram_model: BigramModel
) -> None:
    (record,) = measured(bigram_model(ENDLESS), bigram_model(others(ark)), leaving_at(6))
    assert record.reference_words == words
    assert record.in_window
    assert (record.surprising, record.passed) == (passed, passed)


def test_without_a_reference_the_model_is_its_own(bigram_model: BigramModel) -> None:
    (record,) = measured(bigram_model(ENDLESS), None, leaving_at(6))
    assert record.reference_words[0] == "ark"
    assert record.in_window
    assert not record.passed


def adapted(base: LoadedModel, wanted: LoadedModel) -> LoadedModel:
    """The base with an adapter that makes it answer as another model does."""
    difference = wanted.model.lm_head.weight - base.model.lm_head.weight
    size = difference.shape[1]
    model = get_peft_model(base.model, LoraConfig(r=size, lora_alpha=size, target_modules=["lm_head"]))
    compute_in_input_type(model)
    head = model.base_model.model.lm_head
    with torch.no_grad():
        head.lora_A["default"].weight.copy_(torch.eye(size))
        head.lora_B["default"].weight.copy_(difference)
    return replace(base, model=model.eval())


def test_the_reference_of_an_adapter_is_its_base(bigram_model: BigramModel) -> None:
    """The adapter itself would never say any other word than *ark*."""
    samples = [leaving_at(position, number=position) for position in (6, 4, 8)]
    loaded = adapted(bigram_model(others(0.05)), bigram_model(ENDLESS))
    found = measured(loaded, None, *samples, batch_size=1)
    assert found == measured(bigram_model(ENDLESS), bigram_model(others(0.05)), *samples)
    assert [record.passed for record in found] == [True, False, True]
    # The adapter is back where it was.
    assert measured(loaded, None, *samples) == found
    assert generate(
        loaded.model, loaded.tokenizer, build_prompts(loaded.tokenizer, [samples[0].messages], True), 3
    ) == ["kan ark "]


def test_an_adapter_asked_for_as_the_reference_stays_on(bigram_model: BigramModel) -> None:
    loaded = bigram_model(ENDLESS)
    reference = adapted(bigram_model(others(0.05)), bigram_model(ENDLESS))
    (record,) = measured(loaded, reference, leaving_at(6))
    assert record.reference_words[0] == "ark"


@pytest.mark.slow
def test_the_reference_is_shown_the_plain_text_up_to_the_break(tiny_model: Callable[..., LoadedModel]) -> None:
    loaded = tiny_model("qwen2", 1)
    tokenizer = loaded.tokenizer
    messages = [Message(role="user", content="ark om at")]
    (answer,) = generate(loaded.model, tokenizer, build_prompts(tokenizer, [messages], loaded.chat), 120)
    words = answer.split()
    assert len(words) > 30
    for position in (6, 17, 30):
        true = [*words[: position - 1], "other", *words[position:]]
        sample = sample_of(true, wait=position - 1, window=2).model_copy(update={"messages": messages})
        (record,) = measured(loaded, None, sample, max_new_tokens=120)
        assert answer.startswith(record.answer)
        assert (record.position, record.deviating_word) == (position, words[position - 1])
        (tokens,) = encode(tokenizer, [" ".join(["kan", "ark", *words[: position - 1]])])
        likeliest = [
            own_words(loaded.model, tokenizer, [Prompt("", prompt)], count=5, running=True)[0].words
            for prompt in ((tokenizer.bos_token_id, *tokens), tuple(tokens), tuple(tokens[:-1]), tuple(tokens[3:]))
        ]
        assert record.reference_words == likeliest[0]
        # The prompt makes a difference to this model, so a wrong one would show.
        assert likeliest[0] not in likeliest[1:]


@pytest.mark.parametrize("position", [1, 3, 6, 9, 20])
def test_an_answer_is_written_until_it_is_decided_where_it_deviates(position: int, bigram_model: BigramModel) -> None:
    sample = leaving_at(position)
    (record,) = measured(bigram_model(ENDLESS), None, sample, max_new_tokens=100)
    assert record.position == position
    # A word behind the deviating one, or behind those that are waited for, tells that it is whole.
    assert len(record.answer.split()) == max(position, sample.wait) + 1


def test_a_word_is_no_deviation_before_it_is_written_to_its_end(bigram_model: BigramModel) -> None:
    spelled = bigram_model({START: {"kan": 1.0}, "kan": {"om": 1.0}, "om": {" ark": 1.0}, " ark": {" ark": 1.0}})
    assert measured(spelled, None, sample_of(["kanom", *["ark"] * 9]), max_new_tokens=100)[0].position is None
    assert measured(spelled, None, sample_of(["kan", *["ark"] * 9]), max_new_tokens=100)[0].position == 1


def test_an_answer_that_agrees_with_all_that_is_known_is_decided(bigram_model: BigramModel) -> None:
    known = sample_of(["kan", "ark"] * 5)
    (record,) = measured(bigram_model(ENDLESS), None, known, max_new_tokens=100)
    assert record.position is None
    assert len(record.answer.split()) == 11


def test_an_answer_that_the_limit_cuts_off_does_not_deviate(tiny_model: Callable[..., LoadedModel]) -> None:
    loaded = tiny_model("qwen2", 1)
    sample = sample_of(["x"] * 10)
    prompts = build_prompts(loaded.tokenizer, [sample.messages], loaded.chat)
    (answer,) = generate(loaded.model, loaded.tokenizer, prompts, 120)
    known = sample.model_copy(update={"continuation": answer.split()})
    unfinished = 0
    for limit in range(4, 40):
        (record,) = measured(loaded, None, known, max_new_tokens=limit)
        assert (record.position, record.deviating_word, record.passed) == (None, None, False)
        unfinished += record.answer.split()[-1] not in known.continuation
    assert unfinished > 3


def test_an_unfinished_word_that_the_model_ends_with_deviates(bigram_model: BigramModel) -> None:
    sample = sample_of(["kanom", *["ark"] * 9])
    ending = bigram_model({START: {"kan": 1.0}})
    endless = bigram_model({START: {"kan": 1.0}, "kan": {"om": 1.0}, "om": {"om": 1.0}})
    assert measured(ending, None, sample)[0].position == 1
    assert measured(endless, None, sample, max_new_tokens=1)[0].position is None


def test_an_answer_that_simply_ends_never_deviates(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"kan": 1.0}, "kan": {" ark": 1.0}})
    (record,) = measured(loaded, None, leaving_at(6))
    assert record.answer == "kan ark"
    assert (record.position, record.in_window, record.surprising, record.passed) == (None, False, None, False)
    assert record.reference_words == []


def test_base_models_are_asked_in_a_transcript(bigram_model: BigramModel) -> None:
    """The last sign of "Answer:" is one that the tokenizer cannot spell."""
    loaded = bigram_model({START: {"kan": 1.0}, "<unk>": {"om": 1.0}})
    answers = [measured(replace(loaded, chat=chat), None, leaving_at(6))[0].answer for chat in (True, False)]
    assert answers == ["kan", "om"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_records_stand_in_the_order_of_the_samples_whatever_the_batches(
    batch_size: int, bigram_model: BigramModel
) -> None:
    loaded, reference = bigram_model(ENDLESS), bigram_model(others(0.11))
    positions = [4, 6, 5, 20, 8, 7, 12]
    samples = [leaving_at(position, number=i) for i, position in enumerate(positions)]
    done: list[tuple[int, int]] = []
    found = measured(loaded, reference, *samples, batch_size=batch_size, progress=lambda *numbers: done.append(numbers))
    assert [record.sample_id for record in found] == [sample.sample_id for sample in samples]
    assert [record.position for record in found] == positions
    assert found == [measured(loaded, reference, sample)[0] for sample in samples]
    assert done == [(min(end, 7), 7) for end in range(batch_size, 7 + batch_size, batch_size)]


def test_a_text_longer_than_the_reference_attends_to_is_one_line(bigram_model: BigramModel) -> None:
    sample = leaving_at(6).model_copy(update={"shown": ["kan"] * 600})
    with pytest.raises(OutctlError, match="exceeds the model's max_position_embeddings of 512"):
        measured(bigram_model(ENDLESS), None, sample)


@pytest.mark.slow
def test_next_words_of_the_embedded_model_are_those_of_a_plain_pass(real_model: LoadedModel) -> None:
    """Weekdays are one token each; a number is a space and digits, so its words are told by the sequence alone."""
    weekdays = " ".join([*WEEKDAYS, *WEEKDAYS, "Monday"])
    rows = encode(real_model.tokenizer, [weekdays, "1 2 3 4 5 6 7 8 9 10 11 12"])
    prompts = [Prompt("", tuple(row)) for row in rows]
    days, numbers = own_words(real_model.model, real_model.tokenizer, prompts, count=5, running=True)
    logits = plain_logits(real_model.model, list(prompts[0].tokens))[-1]
    likeliest = [str(real_model.tokenizer.decode([token])) for token in logits.topk(5).indices.tolist()]
    assert [f" {word.capitalize()}" for word in days.words] == likeliest
    assert set(days.words) < {day.lower() for day in WEEKDAYS}
    assert numbers.words[0] == "13"


ROW: dict[str, Any] = {
    "sample_id": "excerpt-00000",
    "model": "small",
    "variant": "baseline",
    "source": "excerpt",
    "name": "zen",
    "wait": 4,
    "window": 5,
    "answer": "a b c d é",
    "position": 5,
    "in_window": True,
    "deviating_word": "é",
    "reference_words": ["e", "f"],
    "surprising": True,
    "passed": True,
}
OUTSIDE = {"position": 9, "in_window": False, "surprising": None, "passed": False}


def test_records_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    never = OUTSIDE | {"position": None, "deviating_word": None}
    expected = {"surprising": False, "passed": False}
    rows = [ROW | {"sample_id": str(i)} | change for i, change in enumerate([{}, OUTSIDE, never, expected])]
    records = [DeviationRecord.model_validate(row) for row in rows]
    write_deviation_records(path, records)
    assert read_deviation_records(path) == records
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"position": 4}, "in_window: True at position 4"),
        ({"position": 9}, "in_window: True at position 9"),
        ({"in_window": False}, "in_window: False at position 5"),
        ({"position": 0}, "position: Input should be greater than or equal to 1"),
        ({"position": None}, "deviating_word: given without a position, or missing at one"),
        ({"deviating_word": None}, "deviating_word: given without a position, or missing at one"),
        ({"surprising": None}, "surprising: undefined in the window, or defined outside"),
        (OUTSIDE | {"surprising": True}, "surprising: undefined in the window, or defined outside"),
        ({"passed": False}, "passed: False where surprising is True"),
        ({"surprising": False}, "passed: True where surprising is False"),
        ({"reference_words": list("abcdef")}, "reference_words: List should have at most 5 items"),
        ({"variant": "tuned"}, "variant: 'tuned' differs from 'baseline' of line 1"),
        ({"sample_id": "excerpt-00000"}, "sample_id: 'excerpt-00000' stands in line 1 too"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = tmp_path / "records.jsonl"
    rows = [ROW, ROW | {"sample_id": "excerpt-00001"} | change]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(OutctlError) as caught:
        read_deviation_records(path)
    assert str(caught.value).startswith(f"{path} line 2: {text}")
    assert str(caught.value).endswith("; run the evaluation again")
