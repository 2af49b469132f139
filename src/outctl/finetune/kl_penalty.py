"""The KL penalty of the training loss: it holds the adapted model to its base where nothing is to change.

    weight * mean over a step's neutral prompts of KL(base || adapted)

over the full next-token distribution behind each prompt, as in knowledge distillation with the base as its own teacher
(Li and Hoiem 2016, *Learning without Forgetting*, arXiv 1606.09282).
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from outctl.inference.branches import next_token_logits
from outctl.inference.passes import split_on_out_of_memory
from outctl.inference.prompts import Prompt
from outctl.inference.token_tree import TokenTree
from outctl.metrics.divergences import full_kl


class KlPenalty:
    """Neutral prompts in a seeded order, each with the base's log-probabilities behind it, which are computed here, once.

    They are kept in float32 beside the model: some 75 prompts are 45 MB with a vocabulary of 150 000, too little to round
    them. The passes are those of the steps, so an adapter that changes nothing has a term of exactly zero in 16 bits too,
    and a training that goes on from a checkpoint computes the same bits again, whatever memory is free then.

    Args:
        model: the PEFT model, whose base `choose_engine` has seen.
        prompts: all that may be used.
        per_step: how many a step takes.
        seed: seed of their order.
    """

    def __init__(self, model: Any, prompts: Sequence[Prompt], per_step: int, seed: int) -> None:
        order = list(prompts)
        Random(f"{seed}/retention").shuffle(order)
        self.prompts = order
        self.per_step = per_step
        training = model.training
        model.eval()
        rows: list[Tensor] = []
        for start in range(0, len(order), per_step):
            rows += split_on_out_of_memory(order[start : start + per_step], lambda part: list(self._base(model, part)))
        model.train(training)
        self.base = torch.stack(rows)

    @staticmethod
    @torch.no_grad()
    def _base(model: Any, prompts: Sequence[Prompt]) -> Tensor:
        with model.disable_adapter():
            return next_token_log_p(model, prompts)

    def numbers(self, step: int) -> list[int]:
        """The prompts of an optimiser step, counted from 0: the next ones; the last step of each round takes what is left."""
        first = step % math.ceil(len(self.prompts) / self.per_step) * self.per_step
        return list(range(first, min(first + self.per_step, len(self.prompts))))

    def divergences(self, model: Any, numbers: Sequence[int]) -> Tensor:
        """KL(base || adapted) behind some of the prompts, (len(numbers),), differentiable in the adapter's weights."""
        adapted = next_token_log_p(model, [self.prompts[number] for number in numbers])
        return full_kl(self.base[list(numbers)], adapted)


def next_token_log_p(model: Any, prompts: Sequence[Prompt]) -> Tensor:
    """Log-probabilities (len(prompts), V) in float32 of the token behind each prompt, in one pass."""
    tree = TokenTree()
    ends = [tree.insert(prompt.tokens)[-1] for prompt in prompts]
    return next_token_logits(model, tree, ends).log_softmax(-1)
