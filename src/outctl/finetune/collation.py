"""From samples to batches: prompts encoded, words as trees of forms, targets padded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from outctl.config.adapters import Forms
from outctl.config.models import AS_IT_COMES, PromptOptions
from outctl.errors import OutctlError
from outctl.inference.branches import pass_tokens
from outctl.inference.own_words import ROUNDS_OF_A_STEP, own_words
from outctl.inference.prompts import Prompt, build_prompts
from outctl.inference.token_tree import TokenTree
from outctl.inference.word_probabilities import (
    WordLayout,
    WordQuestion,
    lay_out,
    outcome_questions,
    split_by_size,
    word_questions,
)
from outctl.tasks.samples import Sample


@dataclass(frozen=True)
class TrainingItem:
    """One training sample, encoded.

    Attributes:
        prompt: what the model is shown.
        question: prompt and forms of the given words, or the first tokens of these; None where the model picks them.
        target: share of each word.
        at_most: whether the first share is a limit.
    """

    prompt: Prompt
    question: WordQuestion | None
    target: tuple[float, ...]
    at_most: bool


def encode_samples(
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    chat: bool,
    forms: Forms = "all",
    whole_words: float = 1.0,
    options: PromptOptions = AS_IT_COMES,
) -> list[TrainingItem]:
    """Encode samples once, before the first step.

    Args:
        tokenizer: the model's tokenizer.
        samples: the samples.
        chat: whether the model takes a chat template.
        forms: which surface forms count for given words, as in `surface_forms`.
        whole_words: share of the samples whose words are read to their end, evenly spread over them; of the others the first
            tokens are, as far as these are all that a single word needs.
        options: how the model is asked, beside its chat template.
    """
    prompts = build_prompts(tokenizer, [sample.messages for sample in samples], chat, options)
    questions = outcome_questions(tokenizer, prompts, [sample.outcomes for sample in samples], forms)
    for number, sample in enumerate(samples):
        chosen = int((number + 1) * whole_words) > int(number * whole_words)
        if not chosen and _asks_single_words(sample):
            questions[number] = questions[number].first_tokens()
    return [
        TrainingItem(prompt, question if sample.words else None, tuple(sample.target), sample.at_most)
        for sample, prompt, question in zip(samples, prompts, questions, strict=True)
    ]


def _asks_single_words(sample: Sample) -> bool:
    """Whether it asks for shares of given words, each a word of its own.

    The first token of an answer of several words says nothing of the others, and a limit is none on what begins alike.
    """
    return bool(sample.words) and not sample.at_most and not any(" " in word for word in sample.words or ())


def split_items(model: Any, items: Sequence[TrainingItem], tokens: int) -> list[Sequence[TrainingItem]]:
    """Cut a batch into parts of at most `tokens` tokens of a pass each, as far as words are given; at least one item a part."""
    questions = [item.question or WordQuestion(item.prompt.tokens, []) for item in items]
    parts, start = [], 0
    for run in split_by_size(questions, tokens, TokenTree(), partial(pass_tokens, model)):
        parts.append(items[start : start + len(run)])
        start += len(run)
    return parts


@dataclass(frozen=True)
class TrainingBatch:
    """B samples laid out for one forward pass.

    Attributes:
        tree: the tokens of prompts and forms.
        words: where the words' probabilities stand in the logits of the tree's nodes.
        target: (B, K) shares, padded with 0.
        by_rank: (B,) booleans: samples whose words the model picked.
        at_most: (B,) booleans: samples whose first share is a limit.
    """

    tree: TokenTree
    words: WordLayout
    target: Tensor
    by_rank: Tensor
    at_most: Tensor


def build_batch(model: Any, tokenizer: PreTrainedTokenizerBase, items: Sequence[TrainingItem]) -> TrainingBatch:
    """Lay out a batch; where the model picks the words, ask it now which they are.

    Args:
        model: the model as it is at this step.
        tokenizer: its tokenizer.
        items: B samples.

    Raises:
        OutctlError: the model answers with fewer words than are asked for.
    """
    questions = [item.question for item in items]
    free = [number for number, question in enumerate(questions) if question is None]
    if free:
        prompts = [items[number].prompt for number in free]
        most = max(len(items[number].target) for number in free)
        found = own_words(model, tokenizer, prompts, count=most, rounds=ROUNDS_OF_A_STEP)
        picked = [own.words[: len(items[number].target)] for number, own in zip(free, found, strict=True)]
        for number, question in zip(free, word_questions(tokenizer, prompts, picked), strict=True):
            if len(question.forms) < len(items[number].target):
                raise OutctlError(f"the model answers no words to the prompt {items[number].prompt.text!r}")
            questions[number] = question
    widest = max(len(item.target) for item in items)
    target = torch.zeros(len(items), widest)
    for row, item in zip(target, items, strict=True):
        row[: len(item.target)] = torch.tensor(item.target)
    by_rank = torch.zeros(len(items), dtype=torch.bool)
    by_rank[free] = True
    tree = TokenTree()
    words = lay_out([question for question in questions if question is not None], tree)
    return TrainingBatch(
        tree,
        words.to(model.device),
        target.to(model.device),
        by_rank.to(model.device),
        torch.tensor([item.at_most for item in items], device=model.device),
    )
