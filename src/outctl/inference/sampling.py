"""Answers drawn from a model, and which word each one is: their frequencies must agree with the exact probabilities.

Every token is drawn from the model's own distribution, at temperature 1 and without top-k or top-p. The passes are plain
ones, a prompt at a time, behind a cache of the prompt where that is proven right: they share neither the token tree nor the
arithmetic of the exact measurement, only the forms of the words and the rule where a word ends. Answers that have begun
alike are one row of a pass, so that a thousand of them cost little more than the different ones among them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from outctl.inference.engine import engine_of
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.rows import Row, State, read_rows
from outctl.inference.word_probabilities import WordQuestion


@torch.inference_mode()
def sample_answers(
    model: Any, questions: Sequence[WordQuestion], count: int, seed: int, tokens_per_pass: int | None = None
) -> Iterator[list[tuple[int, ...]]]:
    """Draw answers to word questions, each up to the token that decides which word it is.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        questions: prompts, and the forms of the words that answers may be.
        count: answers to each question.
        seed: seed of the draws. They follow from it and the question's own prompt, whatever else is asked; the same prompt
            asked twice is given the same answers.
        tokens_per_pass: largest number of tokens in a forward pass, the prompt's counted for each row; as many as fit into
            memory if None.

    Yields:
        The tokens of each answer to a question, in the order of the questions.
    """
    tokens = tokens_per_pass or tokens_that_fit(model)
    for question in questions:
        yield _answers(model, question, count, _generator(seed, question.prompt), tokens)


def classify(answer: Sequence[int], forms: Sequence[Sequence[tuple[int, ...]]], continuations: Tensor) -> int | None:
    """Which word an answer is, by the rule of the exact probabilities: it begins with a form, and the word ends there.

    Args:
        answer: tokens of the answer, up to the one that decides at least.
        forms: for each word, the token sequences of its surface forms.
        continuations: (V,) booleans: tokens that make a longer word of a word they follow.

    Returns:
        The number of the word; None for anything else. Where one word is another and what follows a sign in it (*well*,
        *well-known*), so that the answer is both, the first of them.
    """
    for number, own in enumerate(forms):
        for form in own:
            size = len(form)
            if tuple(answer[:size]) == form and len(answer) > size and not continuations[answer[size]]:
                return number
    return None


def _generator(seed: int, prompt: tuple[int, ...]) -> torch.Generator:
    """Random numbers of one prompt: with the same ones for all, the errors of all samples would go one way."""
    digest = hashlib.sha256(repr((seed, prompt)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]))


def _answers(
    model: Any, question: WordQuestion, count: int, generator: torch.Generator, tokens: int
) -> list[tuple[int, ...]]:
    # As long as an answer may still become a form, or has become one and waits for the token behind it.
    undecided = {form[:size] for own in question.forms for form in own for size in range(len(form) + 1)}
    answers: list[tuple[int, ...]] = [()] * count
    begun = _begun(model, question, max(map(len, undecided)))
    while open_answers := [number for number in range(count) if answers[number] in undecided]:
        # A number for every answer, so that none depends on when others are decided.
        points = torch.rand(count, generator=generator, dtype=torch.float64).to(model.device)
        alike: dict[tuple[int, ...], list[int]] = {}
        for number in open_answers:
            alike.setdefault(answers[number], []).append(number)
        rows = max(1, tokens // (len(question.prompt) + len(answers[open_answers[0]])))
        groups = list(alike.values())
        for start in range(0, len(groups), rows):
            part = groups[start : start + rows]
            drawn = split_on_out_of_memory(part, partial(_drawn, model, begun, question.prompt, answers, points))
            for numbers, ids in zip(part, drawn, strict=True):
                for number, token in zip(numbers, ids, strict=True):
                    answers[number] += (token,)
    return answers


def _begun(model: Any, question: WordQuestion, longest: int) -> State | None:
    """What the model carries behind all but the prompt's last token; None where rows must be whole."""
    size = len(question.prompt)
    if size < 2 or not engine_of(model).may_share(size + longest):
        return None
    _, begun = read_rows(model, [Row(question.prompt[:-1], [size - 2])], keep=True)
    return begun


def _drawn(
    model: Any,
    begun: State | None,
    prompt: Sequence[int],
    answers: Sequence[tuple[int, ...]],
    points: Tensor,
    groups: Sequence[list[int]],
) -> list[list[int]]:
    """The next token of every answer, where each group of answers has begun alike and all are equally long."""
    unread = prompt[begun.length if begun else 0 :]
    sequences = [[*unread, *answers[numbers[0]]] for numbers in groups]
    rows, _ = read_rows(model, [Row(tokens, [len(tokens) - 1]) for tokens in sequences], begun)
    sums = torch.cat(rows).double().softmax(-1).cumsum(-1)
    found = []
    for row, numbers in zip(sums, groups, strict=True):
        chosen = torch.searchsorted(row, points[numbers] * row[-1], right=True)
        # The product may be rounded up to the whole sum.
        found.append(chosen.clamp_max(len(row) - 1).tolist())
    return found
