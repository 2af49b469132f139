"""Text from a model: greedy or sampled."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from outctl.inference.engine import engine_of
from outctl.inference.passes import split_on_out_of_memory
from outctl.inference.prompts import Prompt
from outctl.inference.row_generation import continue_rows


class Continuation(NamedTuple):
    """New text behind a prompt, without special tokens; whether it was cut off, as the model did not end it."""

    text: str
    cut_off: bool


class _Decided(StoppingCriteria):  # type: ignore[misc]
    """Ends each row of a batch once its text is decided, and remembers which rows that are.

    Args:
        tokenizer: the model's tokenizer.
        length: tokens of the prompts, filling included.
        numbers: numbers of the batch's prompts.
        decided: whether a prompt, by its number, needs no more new text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        numbers: Sequence[int],
        decided: Callable[[int, str], bool],
    ) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self.numbers = numbers
        self.decided = decided
        self.rows: list[bool] = []

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.length :], skip_special_tokens=True)
        self.rows = [self.decided(number, text) for number, text in zip(self.numbers, texts, strict=True)]
        return torch.tensor(self.rows, device=input_ids.device)


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 16,
) -> list[str]:
    """Continue prompts, several at a time.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        prompts: what to continue.
        max_new_tokens: length of a continuation at most.
        temperature: 0 takes the likeliest token each time; otherwise tokens are sampled, at 1 from the model's own
            distribution, without top-k or top-p.
        seed: seed of the sampling.
        batch_size: prompts in a pass; fewer where memory does not suffice.

    Returns:
        The new text of each prompt, without special tokens.
    """
    found = continuations(model, tokenizer, prompts, max_new_tokens, temperature, seed, batch_size)
    return [continuation.text for continuation in found]


@torch.inference_mode()
def continuations(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 16,
    decided: Callable[[int, str], bool] | None = None,
) -> list[Continuation]:
    """Continue prompts as `generate` does, and say of each new text whether it was cut off.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: the model's tokenizer.
        prompts: what to continue.
        max_new_tokens: length of a continuation at most.
        temperature: 0 takes the likeliest token each time.
        seed: seed of the sampling.
        batch_size: prompts in a pass; fewer where memory does not suffice.
        decided: whether a prompt, by its number, has new text enough, so that it is cut off there; only the limit cuts
            texts off without it.
    """
    torch.manual_seed(seed)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0.0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    # One id, several, or none.
    own_ends = model.generation_config.eos_token_id
    ends = torch.tensor([] if own_ends is None else own_ends, dtype=torch.long).reshape(-1)

    rows = engine_of(model).name == "rows"

    def in_rows(numbers: Sequence[int]) -> list[Continuation]:
        found = continue_rows(
            model,
            [prompts[number].tokens for number in numbers],
            max_new_tokens,
            temperature,
            set(ends.tolist()),
            (lambda row, new: decided(numbers[row], _text(tokenizer, new))) if decided else None,
        )
        return [Continuation(_text(tokenizer, new), not ended) for new, ended in found]

    def together(numbers: Sequence[int]) -> list[Continuation]:
        if rows:
            return in_rows(numbers)
        batch = [prompts[number] for number in numbers]
        length = max(len(prompt.tokens) for prompt in batch)
        # New tokens follow the right edge, so the filling goes to the left, whatever side the tokenizer prefers.
        filling = [length - len(prompt.tokens) for prompt in batch]
        ids = [[pad] * extra + list(prompt.tokens) for extra, prompt in zip(filling, batch, strict=True)]
        mask = [[0] * extra + [1] * len(prompt.tokens) for extra, prompt in zip(filling, batch, strict=True)]
        stop = _Decided(tokenizer, length, numbers, decided) if decided else None
        output = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            stopping_criteria=[stop] if stop else None,
            **sampling,
        )
        new = output[:, length:].cpu()
        cut_off = ~torch.isin(new, ends).any(1)
        if stop:
            # What fills the rows up behind there may be the token that ends a text.
            cut_off |= torch.tensor(stop.rows)
        return list(map(Continuation, tokenizer.batch_decode(new, skip_special_tokens=True), cut_off.tolist()))

    found: dict[int, Continuation] = {}
    for numbers in _batches([len(prompt.tokens) for prompt in prompts], batch_size, alike=rows):
        found.update(zip(numbers, split_on_out_of_memory(numbers, together), strict=True))
    return [found[number] for number in range(len(prompts))]


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    (text,) = tokenizer.batch_decode([tokens], skip_special_tokens=True)
    return str(text)


def _batches(lengths: Sequence[int], size: int, alike: bool) -> list[Sequence[int]]:
    """Numbers of prompts by batch, in their order; only prompts of one length in a batch if they are to be alike."""
    groups: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        groups.setdefault(length if alike else 0, []).append(number)
    return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]
