"""Questions for models of `random_models`, and all that the benchmarks call of the inference engine."""

import random
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import Prompt
from outctl.inference.token_tree import TokenTree
from outctl.inference.word_probabilities import WordQuestion, answer_questions, word_questions
from random_models import SYLLABLES

LENGTH = 430
"""Tokens of a prompt with a few answered examples."""
SHARED = 318
"""Tokens at its beginning that all prompts of a case have in common."""


def make_prompts(
    tokenizer: PreTrainedTokenizerBase, count: int, length: int = LENGTH, shared: int = SHARED
) -> list[Prompt]:
    """Prompts of exactly `length` tokens, of which the first `shared` are the same in all."""
    draw = random.Random(0)
    beginning = [draw.choice(SYLLABLES) for _ in range(shared)]
    prompts = []
    for _ in range(count):
        own = [draw.choice(SYLLABLES) for _ in range(length - shared - 1)]
        # A syllable with a space before it is one token; the colon keeps the answer from growing into the prompt.
        text = " ".join([*beginning, *own]) + ":"
        prompts.append(Prompt(text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"])))
    if any(len(prompt.tokens) != length for prompt in prompts):
        raise ValueError(f"prompts of {len(prompts[0].tokens)} tokens, not {length}")
    return prompts


def make_questions(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[WordQuestion]:
    """Ask each prompt for two words, each of which has four surface forms of one to three tokens."""
    draw = random.Random(1)
    words = []
    for _ in prompts:
        # Distinct first syllables make distinct words.
        first, second = draw.sample(SYLLABLES, 2)
        words.append([first + draw.choice(SYLLABLES), second + draw.choice(SYLLABLES)])
    return word_questions(tokenizer, prompts, words)


def make_ready(model: Any) -> None:
    """What a model goes through once before it is asked."""
    choose_engine(model)


def ask(model: Any, tokenizer: PreTrainedTokenizerBase, questions: Sequence[WordQuestion], tokens: int) -> None:
    """Ask a model all questions with at most `tokens` tree nodes in a pass, as an evaluation does."""
    for _ in answer_questions(model, tokenizer, questions, tokens_per_pass=tokens, top=20):
        pass


class Work:
    """What the questions of one call need at least: every distinct token once, whatever the passes they are cut into.

    Attributes:
        nodes: distinct tokens, that is, nodes of the tree of all questions.
        pairs: pairs of a node and a node that it attends to.
        positions: nodes whose logits are read: ends of prompts, and all nodes of surface forms.
    """

    def __init__(self, questions: Sequence[WordQuestion]) -> None:
        tree = TokenTree()
        read: set[int] = set()
        for question in questions:
            end = tree.insert(question.prompt)[-1]
            read.add(end)
            for forms in question.forms:
                for form in forms:
                    read.update(tree.insert(form, after=end))
        self.nodes = len(tree)
        self.pairs = sum(depth + 1 for depth in tree.depths)
        self.positions = len(read)
