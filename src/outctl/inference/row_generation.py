"""Continue prompts of one length without padding: right for models that no filling on the left may reach.

The cache grows token by token where the check of the engine proved that; elsewhere rows are read again from the beginning.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from outctl.inference.engine import engine_of
from outctl.inference.rows import Row, State, read_next, read_rows


class NewTokens(NamedTuple):
    """What follows a prompt, and whether the model ended it."""

    tokens: list[int]
    ended: bool


@torch.inference_mode()
def continue_rows(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    ends: set[int],
    decided: Callable[[int, list[int]], bool] | None = None,
) -> list[NewTokens]:
    """Continue prompts of one length.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        prompts: tokens of each prompt.
        max_new_tokens: length of a continuation at most.
        temperature: 0 takes the likeliest token each time; otherwise tokens are drawn from torch's random numbers.
        ends: tokens that end a continuation, which keeps them.
        decided: whether a row, by its number, needs no more than these new tokens.

    Raises:
        OutctlError: a sequence is longer than the model has positions for.
    """
    found = [NewTokens([], ended=False) for _ in prompts]
    done = [False] * len(prompts)
    state: State | None = None
    chosen: list[int] = []
    for _ in range(max_new_tokens):
        if state is not None:
            logits, state = read_next(model, state, chosen)
        else:
            sequences = [[*prompt, *one.tokens] for prompt, one in zip(prompts, found, strict=True)]
            rows = [Row(sequence, [len(sequence) - 1]) for sequence in sequences]
            parts, state = read_rows(model, rows, keep=engine_of(model).steps)
            logits = torch.cat(parts)
        chosen = _choose(logits, temperature).tolist()
        for number, token in enumerate(chosen):
            # Rows that are done go on with the others, unread.
            if not done[number]:
                found[number].tokens.append(token)
                ended = token in ends
                done[number] = ended or (decided is not None and decided(number, found[number].tokens))
                found[number] = found[number]._replace(ended=ended)
        if all(done):
            break
    return found


def _choose(logits: Tensor, temperature: float) -> Tensor:
    """(B,) the next token of each row."""
    if temperature == 0.0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]
