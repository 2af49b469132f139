"""What other tokens than the tokenizer's own can spell of a word: by hand, and against all answers of a small model."""

import math
from collections.abc import Callable, Iterator

import pytest
from plain_inference import ending_tokens, plain_logits

from outctl.inference.prompts import Prompt, build_prompts
from outctl.inference.unread_spellings import spelling_tokens
from outctl.inference.word_probabilities import WordAnswer, answer_questions, word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message

START = "<|assistant|>"


def asked(loaded: LoadedModel, words: list[str]) -> tuple[Prompt, WordAnswer]:
    (prompt,) = build_prompts(loaded.tokenizer, [[Message(role="user", content="or")]], chat=True)
    (answer,) = answer_questions(loaded.model, loaded.tokenizer, word_questions(loaded.tokenizer, [prompt], [words]))
    return prompt, answer


def test_tokens_that_go_on_spelling() -> None:
    known = {b"a": [1], b"ar": [2], b"rk": [3, 4], b"ark": [5], b"k": [6], b"m": [7]}
    texts = [b" ark", b"ark", b"arkansas"]
    assert spelling_tokens(b"", texts, known) == {1, 2, 5}
    assert spelling_tokens(b"a", texts, known) == {3, 4}
    assert spelling_tokens(b" ", texts, known) == {1, 2, 5}
    assert spelling_tokens(b"ark", texts, known) == {1}
    assert spelling_tokens(b"x", texts, known) == set()


def test_the_bound_by_hand(bigram_model: Callable[..., LoadedModel]) -> None:
    """*atom* in two tokens, *ark* in two, and of what begins behind a space all but *atom*, in the tokenizer's split."""
    table = {
        START: {"ark": 0.40, "at": 0.20, " ": 0.10, "a": 0.05},
        " ": {"atom": 0.50, "a": 0.20, "m": 0.10},
        "at": {"om": 0.90},
    }
    _, answer = asked(bigram_model(table), ["ark", "atom"])
    # "at" and "a" may spell either word; behind the space that " atom" is written with, "a" may.
    assert answer.unread == pytest.approx(0.20 + 0.05 + 0.10 * 0.20, rel=1e-4)


def segmentations(text: str, tokens: dict[str, int]) -> Iterator[tuple[int, ...]]:
    """All token sequences that write a text."""
    if not text:
        yield ()
    for size in range(1, len(text) + 1):
        if text[:size] in tokens:
            yield from ((tokens[text[:size]], *rest) for rest in segmentations(text[size:], tokens))


@pytest.mark.parametrize(("seed", "spread"), [(3, 0.6), (5, 0.6), (0, 1.0), (4, 1.0)])
def test_the_bound_holds_for_all_tokens_that_spell_the_words(
    seed: int, spread: float, pocket_model: Callable[..., LoadedModel]
) -> None:
    loaded = pocket_model(seed, initializer_range=spread)
    words = ["ark", "atom"]
    prompt, answer = asked(loaded, words)
    tokens = {loaded.tokenizer.decode([token]): token for token in range(len(loaded.tokenizer))}
    others = []
    for form in [space + form for word in words for form in (word, word.capitalize()) for space in ("", " ")]:
        split = tuple(loaded.tokenizer(form, add_special_tokens=False)["input_ids"])
        for path in set(segmentations(form, tokens)) - {split}:
            log_p = (
                plain_logits(loaded.model, [*prompt.tokens, *path]).double().log_softmax(-1)[len(prompt.tokens) - 1 :]
            )
            along = sum(log_p[place, token].item() for place, token in enumerate(path))
            others.append(
                math.exp(along) * log_p[-1, ending_tokens(loaded.tokenizer, log_p.shape[-1])].exp().sum().item()
            )
    assert len(others) == 19
    assert 0.0 < sum(others) <= answer.unread * (1 + 1e-5)
    assert answer.unread < 1.0
