"""How many tokens go through a model at once: as many as its memory takes, and fewer when it runs out."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from outctl.errors import OutctlError
from outctl.inference.engine import base_of
from outctl.machine.memory import available_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = {"cpu": 2048, "cuda": 16384}
"""Tokens of a pass beyond which a device computes no faster."""
LEAST = 128
SHARE = 0.5
"""Part of the free memory that a pass may plan with; what it really takes depends on prompts and words."""
LOGITS = 0.15
"""Share of a pass's tokens behind which logits are wanted: forms of words behind short prompts."""


def keep_tokens(model: Any, tokens: int) -> None:
    """Keep on the model how many tokens a pass has: in 16 bits, how prompts are cut into passes changes what is computed."""
    base_of(model).outctl_tokens = tokens


def tokens_that_fit(model: Any, training: bool = False) -> int:
    """Tokens for one pass: what the job has chosen, else by the free memory of the model's device.

    That is a power of two, so that small changes do not matter. Counts, for each token and in bytes: the hidden states of a
    layer and what its products hold, attention weights on 512 keys, keys and values of all layers, and in float32 the logits
    of those tokens that need them.

    Args:
        model: the model.
        training: whether there are gradients. Every layer then keeps what its backward pass needs, and memory alone is the
            limit: each part of a batch computes again what its prompts share.
    """
    if not training and (kept := getattr(base_of(model), "outctl_tokens", None)):
        return int(kept)
    config = model.config.get_text_config()
    hidden = _size(config, ("hidden_size", "d_model", "n_embd", "emb_dim"), 1024)
    layers = _size(config, ("num_hidden_layers", "decoder_layers", "n_layer"), 24)
    # A model without attention keeps less for a token than one with as many heads.
    heads = _size(config, ("num_attention_heads", "decoder_attention_heads", "n_head"), max(1, hidden // 64))
    inner = _size(config, ("intermediate_size", "decoder_ffn_dim"), 4 * hidden)
    key_heads = _size(config, ("num_key_value_heads",), heads)
    width = _size(config, ("head_dim",), hidden // heads)
    kept = layers if training else 1
    values = kept * (6 * hidden + 3 * inner + 3 * heads * 512) + 2 * layers * key_heads * width
    needed = values * model.dtype.itemsize + LOGITS * 3 * 4 * config.vocab_size
    on_gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info(model.device)[0] if on_gpu else available_memory()
    most = sys.maxsize if training else MOST["cuda" if on_gpu else "cpu"]
    tokens = LEAST
    while 2 * tokens * needed <= SHARE * free and tokens < most:
        tokens *= 2
    return tokens


def _size(config: Any, names: Sequence[str], default: int) -> int:
    """The first of a configuration's sizes that is there, the largest where layers differ in it."""
    for name in names:
        try:
            value = getattr(config, name, None)
        # Where layers differ, some configurations refuse to name one size.
        except RuntimeError:
            continue
        largest = max(filter(None, value), default=0) if isinstance(value, list | tuple) else value
        if isinstance(largest, int) and largest > 0:
            return largest
    return default


def split_on_out_of_memory(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
    """Results of all items at once, or of both halves one after the other where memory does not suffice.

    Raises:
        OutctlError: it does not suffice for a single item.
    """
    try:
        return work(items)
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
    # Not within `except`: the error holds on to the tensors of the pass that failed.
    if len(items) == 1:
        raise OutctlError("memory does not suffice for a single prompt; shorten it, or take a machine with more")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(items) // 2
    return [*split_on_out_of_memory(items[:middle], work), *split_on_out_of_memory(items[middle:], work)]


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
