"""Token trees on the engine of their model: what asks and trains models needs no other way in."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, tensor

from outctl.inference.engine import engine_of
from outctl.inference.rows import RowTree, row_logits
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import tree_inputs
from outctl.inference.tree_forward import CachedTree, exceeds_window, logits_at, on_device

Branches = CachedTree | RowTree
"""A tree that grows, each of whose nodes is computed once where the engine can."""


def begin(model: Any, prefix: Sequence[int] = ()) -> Branches:
    """A tree that grows, on the model's engine; not for training.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        prefix: tokens that all sequences of the tree begin with; they are computed at once.
    """
    return CachedTree(model, prefix) if engine_of(model).name == "tree" else RowTree(model, prefix)


def next_token_logits(model: Any, tree: TokenTree, nodes: Sequence[int]) -> Tensor:
    """Logits (len(nodes), V) in float32 behind nodes of a tree, differentiable in the model's weights.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tree: the tree; all of it is computed.
        nodes: nodes of it.

    Raises:
        OutctlError: a sequence is longer than the model has positions for.
    """
    if engine_of(model).name == "rows" or exceeds_window(model, tree):
        return row_logits(model, tree, nodes)
    inputs = on_device(tree_inputs(tree, model.dtype), model.device)
    return logits_at(model, inputs, tensor(nodes, device=model.device))


def pass_tokens(model: Any, tree: TokenTree) -> int:
    """How many tokens a pass over all ends of a tree has on the model's engine."""
    if engine_of(model).name == "tree" and not exceeds_window(model, tree):
        return len(tree)
    inner = set(tree.parents)
    return sum(depth + 1 for node, depth in enumerate(tree.depths) if node not in inner)
