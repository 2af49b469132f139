"""Attention in blocks against attention with the whole ancestor mask."""

from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from outctl.inference import tree_attention as module
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import tree_attention, tree_inputs

HEADS, WIDTH = 4, 8
LAYER = torch.nn.Module()


@pytest.fixture(scope="module", params=["one root", "two roots"])
def tree(request: pytest.FixtureRequest) -> TokenTree:
    """A bush of 75 nodes: a prefix and boughs of several lengths; and, where there are two roots, so no prefix at all."""
    random = Random(3)
    tree = TokenTree()
    (*_, prefix) = tree.insert(range(20))
    ends = [prefix]
    while len(tree) < 70:
        ends.append(tree.insert([random.randrange(50) for _ in range(random.randint(1, 9))], random.choice(ends))[-1])
    tree.insert([99] * (75 - len(tree)), after=prefix if request.param == "one root" else -1)
    assert tree.shared_prefix_length() == (20 if request.param == "one root" else 0)
    return tree


def ancestor_mask(tree: TokenTree) -> Tensor:
    """(N, N) booleans: entry [i, j] says that node j is node i or an ancestor of it."""
    mask = torch.eye(len(tree), dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            mask[node] |= mask[parent]
    return mask


def dense_attention(query: Tensor, key: Tensor, value: Tensor, ancestors: Tensor, scaling: float) -> Tensor:
    """The textbook formula, one key head a query head."""
    shared = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(shared, 1).transpose(-1, -2) * scaling
    weights = scores.masked_fill(~ancestors, -torch.inf).softmax(-1)
    return (weights @ value.repeat_interleave(shared, 1)).transpose(1, 2)


def random_inputs(size: int, groups: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(size)
    return [
        torch.randn(1, heads, size, WIDTH, generator=generator, dtype=dtype).requires_grad_()
        for heads in (HEADS, groups, groups)
    ]


def in_blocks(tree: TokenTree, tensors: list[Tensor], scaling: float | None = None) -> Tensor:
    inputs = tree_inputs(tree, tensors[0].dtype)
    output, weights = attention(tensors, inputs, scaling)
    assert weights is None
    return output


def attention(tensors: list[Tensor], inputs: dict[str, Any], scaling: float | None = None) -> tuple[Tensor, None]:
    return tree_attention(
        LAYER,
        *tensors,
        inputs["attention_mask"],
        tree_keys=inputs["tree_keys"],
        tree_prefix=inputs["tree_prefix"],
        scaling=scaling,
    )


@pytest.mark.parametrize("block", [1, 3, 25, 32, 75, 1000])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
def test_blocks_equal_dense_attention_forward_and_backward(
    tree: TokenTree, block: int, groups: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    tensors = random_inputs(len(tree), groups, dtype)
    found = in_blocks(tree, tensors, scaling=0.4)
    expected = dense_attention(*tensors, ancestor_mask(tree), scaling=0.4)
    assert found.shape == (1, len(tree), HEADS, WIDTH)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    gradients = torch.autograd.grad(found, tensors, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, tensors, upstream), atol=10 * tolerance, rtol=0)


@pytest.mark.parametrize("block", [1, 25, 32])
@pytest.mark.parametrize("known", [20, 33, 74])
def test_new_nodes_attend_to_those_in_a_cache(
    tree: TokenTree, block: int, known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    query, key, value = random_inputs(len(tree), 2, torch.float64)
    inputs = tree_inputs(tree, torch.float64, known)
    assert inputs["input_ids"].tolist() == [tree.tokens[known:]]
    found, _ = attention([query[:, :, known:], key, value], inputs, scaling=0.4)
    expected = dense_attention(query, key, value, ancestor_mask(tree), scaling=0.4)
    torch.testing.assert_close(found, expected[:, known:], atol=1e-12, rtol=0)


def test_scores_are_scaled_by_the_root_of_the_width_unless_told(tree: TokenTree) -> None:
    tensors = random_inputs(len(tree), 2, torch.float64)
    torch.testing.assert_close(in_blocks(tree, tensors), in_blocks(tree, tensors, scaling=WIDTH**-0.5))
    assert not torch.allclose(in_blocks(tree, tensors), in_blocks(tree, tensors, scaling=1.0))


def test_single_node_attends_to_itself() -> None:
    tree = TokenTree()
    tree.insert([7])
    tensors = random_inputs(1, 2, torch.float64)
    expected = tensors[2].repeat_interleave(2, 1).transpose(1, 2)
    torch.testing.assert_close(in_blocks(tree, tensors), expected)


def test_without_a_layout_it_is_causal_attention() -> None:
    tensors = random_inputs(12, 4, torch.float64)
    output, _ = tree_attention(LAYER, *tensors, None, scaling=0.4, is_causal=True)
    expected = dense_attention(*tensors, torch.ones(12, 12, dtype=torch.bool).tril(), scaling=0.4)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("block", [1, 4, 32])
def test_layout_reads_back_as_the_ancestor_mask(tree: TokenTree, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    inputs = tree_inputs(tree, torch.float32)
    assert inputs["input_ids"].tolist() == [tree.tokens]
    assert inputs["position_ids"].tolist() == [tree.depths]
    seen = torch.zeros(len(tree), len(tree), dtype=torch.bool)
    allowed = inputs["attention_mask"] == 0
    prefix = inputs["tree_prefix"]
    assert prefix == tree.shared_prefix_length()
    seen[:prefix, :prefix] = torch.ones(prefix, prefix, dtype=torch.bool).tril()
    seen[prefix:, :prefix] = True
    for number, keys in enumerate(inputs["tree_keys"]):
        for row in range(min(block, len(tree) - prefix - number * block)):
            chosen = keys[allowed[number, 0, row]]
            assert len(chosen) == len(chosen.unique())
            seen[prefix + number * block + row, chosen] = True
    assert torch.equal(seen, ancestor_mask(tree))


def test_blocks_are_narrower_than_the_tree_where_branches_share_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 10)
    tree = TokenTree()
    for root in range(20):
        tree.insert([root] * 10)
    assert tree_inputs(tree, torch.float32)["tree_keys"].shape == (20, 10)


def test_mask_of_a_wider_type_than_the_queries_gives_no_nan(tree: TokenTree) -> None:
    """Autocast computes queries in bfloat16, to which the lowest float32 rounds as minus infinity."""
    tensors = random_inputs(len(tree), 2, torch.float32)
    inputs = tree_inputs(tree, torch.float32)
    narrow = [tensor.detach().bfloat16().requires_grad_() for tensor in tensors]
    found, _ = attention(narrow, inputs)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), in_blocks(tree, tensors).detach(), atol=0.05, rtol=0)
    gradients = torch.autograd.grad(found.float().square().sum(), narrow)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
