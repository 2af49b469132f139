"""Attention over a token tree, in blocks, so that its cost follows what nodes attend to and not the tree's size.

The tree's leading chain, which all other nodes descend from, is its *shared prefix*: what all prompts begin with. Each
node attends to the whole prefix, one matrix product for all of them, and to its ancestors beyond it. For those, nodes are
cut into blocks of consecutive nodes; a block attends to the union of its nodes' ancestors, far fewer than the tree has.
With blocks of M nodes, a prefix of T and unions of at most U nodes, the cost of N nodes is N (T + U) instead of N². Any
cut gives the same answer; only the speed depends on it.

Keys and values of the first nodes may lie in a cache. The function is registered with transformers under the name
`TREE_ATTENTION` and takes part in every architecture that asks transformers' attention interface. Without a tree it is
plain `sdpa` attention.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from outctl.inference.token_tree import TokenTree

TREE_ATTENTION = "outctl_tree"
BLOCK = 32
"""Nodes in a block: long enough for efficient matrix products, short enough to keep unions small."""
_CHANGES = {
    "softcap": "soft caps",
    "s_aux": "attention sinks",
    "position_bias": "position biases",
    "head_mask": "head masks",
}
"""Options of an attention layer that change its weights, and what they are."""


class UnknownAttentionError(Exception):
    """An attention layer asks for what a token tree does not have."""


def tree_inputs(tree: TokenTree, dtype: torch.dtype, known: int = 0) -> dict[str, Any]:
    """The arguments of a forward pass over the N nodes of a tree that are new, in one row.

    Args:
        tree: at least one new node.
        dtype: type of the mask, the model's compute type.
        known: how many of the tree's first nodes have their keys and values in a cache; if any, at least the prefix's.

    Returns:
        `input_ids` and `position_ids` (1, N); `tree_prefix`, the number T of prefix nodes; `tree_keys` (C, U), the nodes
        beyond the prefix that each of the C blocks attends to, padded with 0; and `attention_mask` (C, 1, M, U), 0 where a
        block's node attends to a key and the lowest number of `dtype` elsewhere. C is 0 if all new nodes are the prefix's.
    """
    prefix = min(tree.shared_prefix_length(), known) if known else tree.shared_prefix_length()
    ancestors = _ancestors_beyond(tree, prefix, max(prefix, known))
    size = len(ancestors)
    length = max(1, min(size, BLOCK))
    blocks = [ancestors[start : start + length] for start in range(0, size, length)]
    unions = [np.unique(block[block >= 0]) for block in blocks]
    keys = np.zeros((len(blocks), max(map(len, unions), default=0)), dtype=np.int64)
    allowed = np.zeros((len(blocks), 1, length, keys.shape[1]), dtype=np.bool_)
    for number, (block, union) in enumerate(zip(blocks, unions, strict=True)):
        keys[number, : len(union)] = union
        rows, columns = np.nonzero(block >= 0)
        allowed[number, 0, rows, np.searchsorted(union, block[rows, columns])] = True
        # Queries that only fill the last block up attend to one key: a row of nothing would be NaN.
        allowed[number, 0, len(block) :, 0] = True
    mask = torch.zeros(allowed.shape, dtype=dtype)
    return {
        "input_ids": torch.tensor([tree.tokens[known:]]),
        "position_ids": torch.tensor([tree.depths[known:]]),
        "attention_mask": mask.masked_fill_(~torch.from_numpy(allowed), torch.finfo(dtype).min),
        "tree_keys": torch.from_numpy(keys),
        "tree_prefix": prefix,
    }


def _ancestors_beyond(tree: TokenTree, prefix: int, first: int) -> npt.NDArray[np.int64]:
    """(N - first, L): each node from `first` on and its ancestors that are not the prefix's, padded with -1."""
    parents = np.array([*tree.parents, -1])
    columns = [np.arange(first, len(tree))]
    while len(columns[-1]) and (columns[-1] >= 0).any():
        above = parents[columns[-1]]
        columns.append(np.where(above >= prefix, above, -1))
    return np.stack(columns, 1)


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    tree_keys: Tensor | None = None,
    tree_prefix: int = 0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of the tree's new nodes; the signature is that of transformers' attention interface.

    Args:
        module: the attention layer.
        query: (1, H, N, D) of the new nodes.
        key: (1, G, K, D) of all nodes, where each of the G key heads serves H / G query heads.
        value: (1, G, K, E), where E is D in most models.
        attention_mask: (C, 1, M, U) additive mask of `tree_inputs`.
        tree_keys: (C, U) keys of each block beyond the prefix; None asks for plain attention.
        tree_prefix: number of prefix nodes.
        scaling: factor of the scores, 1 / sqrt(D) if None.
        kwargs: options that plain attention takes.

    Returns:
        (1, N, H, E), and no attention weights.

    Raises:
        UnknownAttentionError: the layer attends in a way that trees do not know.
    """
    if tree_keys is not None and (unknown := [name for name in _CHANGES if kwargs.get(name) is not None]):
        raise UnknownAttentionError(f"a token tree knows no {' or '.join(_CHANGES[name] for name in unknown)}")
    if tree_keys is None or attention_mask is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    # New nodes are either the whole prefix and what follows it, or nodes beyond it.
    new_prefix = tree_prefix if key.shape[2] == query.shape[2] else 0
    parts = []
    if new_prefix:
        on_prefix = scaled_dot_product_attention(
            query[:, :, :new_prefix],
            key[:, :, :new_prefix],
            value[:, :, :new_prefix],
            is_causal=True,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(on_prefix.transpose(1, 2))
    if len(tree_keys):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        beyond = query[0, :, new_prefix:] * scale
        parts.append(_beyond_prefix(beyond, key[0], value[0], attention_mask, tree_keys, tree_prefix)[None])
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, 1), None


def _beyond_prefix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, keys: Tensor, prefix: int) -> Tensor:
    """Attention of nodes beyond the prefix: (N, H, E) from scaled queries (H, N, D), keys (G, K, D) and values (G, K, E).

    Written out, since fused kernels with a mask are slower on CPUs than matrix products and one softmax, and have no
    form in which some keys are shared by all blocks.
    """
    heads, size, width = query.shape
    groups, _, value_width = value.shape
    blocks, _, length, reach = mask.shape
    # Rows run over (block, query head of the group, node), so that scores on prefix and block stand side by side.
    padded = pad(query, (0, 0, 0, blocks * length - size)).reshape(groups, heads // groups, blocks, length, width)
    rows = padded.transpose(1, 2).reshape(groups, -1, width)
    chosen = keys.flatten()
    key_blocks = key.index_select(1, chosen).reshape(groups * blocks, reach, width)
    value_blocks = value.index_select(1, chosen).reshape(groups * blocks, reach, value_width)
    scores = rows.reshape(groups * blocks, -1, width) @ key_blocks.transpose(1, 2)
    by_node = scores.view(groups, blocks, -1, length, reach)
    by_node += mask.view(blocks, 1, length, reach).to(scores.dtype)
    scores = torch.cat([rows @ key[:, :prefix].transpose(1, 2), by_node.view(groups, -1, reach)], -1)
    weights = scores.softmax(-1).to(value.dtype)
    of_block = weights[..., prefix:].reshape(groups * blocks, -1, reach)
    mixed = weights[..., :prefix] @ value[:, :prefix] + (of_block @ value_blocks).view(groups, -1, value_width)
    by_head = mixed.view(groups, blocks, heads // groups, length, value_width).permute(1, 3, 0, 2, 4)
    return by_head.reshape(blocks * length, heads, value_width)[:size]


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
