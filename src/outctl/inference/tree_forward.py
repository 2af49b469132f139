"""Next-token logits at chosen nodes of a token tree, in one forward pass of a causal language model."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from transformers import DynamicCache

from outctl.errors import OutctlError, first_line
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import TREE_ATTENTION, tree_inputs


def logits_at(model: Any, inputs: dict[str, Any], nodes: Tensor) -> Tensor:
    """Logits (len(nodes), V) in float32 of the token that follows each node; no other position gets logits.

    Args:
        model: a causal language model of transformers that `enable_trees` has seen, with or without a PEFT adapter.
        inputs: what `tree_inputs` gave, on the model's device.
        nodes: (P,) indices of nodes.

    Raises:
        OutctlError: a sequence is longer than the model attends to.
    """
    _check_length(model, inputs["position_ids"])
    # A single row keeps the projection one plain matrix product over the P chosen positions.
    output = model(**inputs, logits_to_keep=nodes, use_cache="past_key_values" in inputs)
    logits: Tensor = output.logits[0].float()
    return logits


def on_device(inputs: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The arguments of a forward pass with their tensors on another device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


class CachedTree:
    """A token tree that grows: keys and values of its nodes are kept, so each is computed once, whatever is added below.

    Not for training: the cache holds no gradients.

    Args:
        model: a causal language model that `enable_trees` has seen, with or without a PEFT adapter.
        trunk: tokens that all sequences of the tree begin with; they are computed at once.
    """

    def __init__(self, model: Any, trunk: Sequence[int] = ()) -> None:
        self.model = model
        self.tree = TokenTree()
        self._cache = DynamicCache()
        self._known = 0
        if trunk:
            self.tree.insert(trunk)
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

        Raises:
            OutctlError: a sequence is longer than the model attends to.
        """
        inputs = on_device(tree_inputs(self.tree, self.model.dtype, self._known), self.model.device)
        chosen = torch.tensor([node - self._known for node in nodes], dtype=torch.long, device=self.model.device)
        logits = logits_at(self.model, inputs | {"past_key_values": self._cache}, chosen)
        self._known = len(self.tree)
        return logits


@torch.inference_mode()
def enable_trees(model: Any, tolerance: float = 0.05) -> None:
    """Switch a model to tree attention, and make sure that its architecture takes it: branches must not see each other.

    Runs a tree of two branches, in one pass and behind a cached trunk, and each branch alone through plain attention, and
    compares the logits. Architectures that make a mask of their own, attend in another way or carry a recurrent state are
    refused here, before they can give wrong numbers.

    Raises:
        OutctlError: the architecture does not take tree attention, or the logits differ by more than `tolerance` of
            their norm.
    """
    kind = model.config.model_type
    size = model.get_input_embeddings().weight.shape[0]
    stem = [(7 * i + 5) % size for i in range(40)]
    branches = ([3 % size, 13 % size], [17 % size, 2 % size, 19 % size])
    alone = [
        model(input_ids=torch.tensor([stem + branch], device=model.device), use_cache=False).logits[0, -1].float()
        for branch in branches
    ]
    try:
        model.set_attn_implementation(TREE_ATTENTION)
        cached = CachedTree(model, stem)
        ends = [cached.tree.insert(stem + branch)[-1] for branch in branches]
        behind_trunk = cached.logits_at(ends)
        inputs = on_device(tree_inputs(cached.tree, model.dtype), model.device)
        together = logits_at(model, inputs, torch.tensor(ends, device=model.device))
    except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise OutctlError(
            f"models of type {kind!r} do not take tree attention ({first_line(error)}); choose another model"
        ) from error
    for expected, *found in zip(alone, together, behind_trunk, strict=True):
        for logits in found:
            difference = ((expected - logits).norm() / expected.norm()).item()
            if not difference <= tolerance:
                raise OutctlError(
                    f"models of type {kind!r} do not keep the branches of a token tree apart (logits differ by "
                    f"{difference:.2g} of their norm); choose a model with full causal attention"
                )


def length_limits(model: Any) -> dict[str, int]:
    """How many tokens of a sequence a model attends to: the limits of its configuration, by their names there."""
    config = model.config.get_text_config()
    limits = {"max_position_embeddings": getattr(config, "max_position_embeddings", None)}
    if getattr(config, "use_sliding_window", True):
        limits["sliding_window"] = getattr(config, "sliding_window", None)
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        limits["attention_chunk_size"] = config.attention_chunk_size
    return {name: limit for name, limit in limits.items() if limit is not None}


def _check_length(model: Any, position_ids: Tensor) -> None:
    """Refuse sequences that an attention window, a chunk or the position range of the model would cut.

    Raises:
        OutctlError: a sequence is longer than the model attends to.
    """
    longest = int(position_ids.max()) + 1
    for name, limit in length_limits(model).items():
        if longest > limit:
            raise OutctlError(
                f"a prompt of {longest} tokens exceeds the model's {name} of {limit}; shorten the prompt template"
            )
