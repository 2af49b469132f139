"""Next-token logits at chosen nodes of a token tree, in one forward pass of a causal language model."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from transformers import DynamicCache

from outctl.inference.engine import attention_window, check_length
from outctl.inference.passes import tokens_that_fit
from outctl.inference.rows import row_logits
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import tree_inputs


def logits_at(model: Any, inputs: dict[str, Any], nodes: Tensor) -> Tensor:
    """Logits (len(nodes), V) in float32 of the token that follows each node; no other position gets logits.

    Args:
        model: a causal language model of transformers with tree attention, with or without a PEFT adapter.
        inputs: what `tree_inputs` gave, on the model's device.
        nodes: (P,) indices of nodes; no sequence may be longer than the model's attention window.

    Raises:
        OutctlError: a sequence is longer than the model has positions for.
    """
    check_length(model, int(inputs["position_ids"].max()) + 1)
    # A single row keeps the projection one plain matrix product over the P chosen positions.
    output = model(**inputs, logits_to_keep=nodes, use_cache="past_key_values" in inputs)
    logits: Tensor = output.logits[0].float()
    return logits


def on_device(inputs: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The arguments of a forward pass with their tensors on another device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def exceeds_window(model: Any, tree: TokenTree) -> bool:
    """Whether a sequence of a tree is longer than the model's narrowest layer attends to, which a tree does not know of."""
    window = attention_window(model)
    return window is not None and max(tree.depths, default=0) >= window


class CachedTree:
    """A token tree that grows: keys and values of its nodes are kept, so each is computed once, whatever is added below.

    Not for training: the cache holds no gradients.

    Args:
        model: a causal language model with tree attention, with or without a PEFT adapter.
        prefix: tokens that all sequences of the tree begin with; they are computed at once.
    """

    def __init__(self, model: Any, prefix: Sequence[int] = ()) -> None:
        self.model = model
        self.tree = TokenTree()
        self._cache = DynamicCache()
        self._known = 0
        if prefix:
            self.tree.insert(prefix)
            self.compute()

    def copy(self) -> Self:
        """The same tree, to grow apart from this one; what is computed is shared."""
        twin = type(self)(self.model)
        twin.tree = self.tree.copy()
        twin._known = self._known
        for number, layer in enumerate(self._cache.layers):
            twin._cache.update(layer.keys, layer.values, number)
        return twin

    def compute(self) -> None:
        """Compute all nodes that are new."""
        if self._known < len(self.tree):
            self.logits_at([])

    @torch.inference_mode()
    def logits_at(self, nodes: Sequence[int]) -> Tensor:
        """Compute all nodes that are new, and give the logits (len(nodes), V) in float32 behind some of them.

        Sequences that an attention window would cut are computed in rows.

        Raises:
            OutctlError: a sequence is longer than the model has positions for.
        """
        if exceeds_window(self.model, self.tree):
            return row_logits(self.model, self.tree, nodes, tokens_that_fit(self.model))
        inputs = on_device(tree_inputs(self.tree, self.model.dtype, self._known), self.model.device)
        chosen = torch.tensor([node - self._known for node in nodes], dtype=torch.long, device=self.model.device)
        logits = logits_at(self.model, inputs | {"past_key_values": self._cache}, chosen)
        self._known = len(self.tree)
        return logits
