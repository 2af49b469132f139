"""One forward pass over a tree against one pass a sequence."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import peft
import pytest
import torch
from plain_inference import plain_logits
from transformers import AutoConfig, AutoModelForCausalLM

from outctl.errors import OutctlError
from outctl.inference.branches import begin, next_token_logits
from outctl.inference.engine import attention_window, engine_of
from outctl.inference.engine_check import choose_engine
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import tree_inputs
from outctl.inference.tree_forward import CachedTree, exceeds_window, logits_at
from outctl.models.loading import LoadedModel

TinyModel = Callable[..., LoadedModel]


def sequences() -> list[list[int]]:
    """Sequences of 3 to 60 tokens that share beginnings of several lengths."""
    random = Random(5)
    stems = [[random.randrange(90) for _ in range(length)] for length in (1, 20, 45)]
    return [stem + [random.randrange(90) for _ in range(tail)] for stem in stems for tail in (2, 3, 7, 15)]


def check_logits(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Probabilities agree to 1e-5, and logits to 1e-5 of the largest: below that, the order in which a processor sums decides."""
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0.0)


def tree_of(token_lists: list[list[int]]) -> tuple[TokenTree, list[list[int]]]:
    tree = TokenTree()
    return tree, [tree.insert(tokens) for tokens in token_lists]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_every_node_has_the_logits_of_its_sequence_alone(
    architecture: str, tiny_model: TinyModel, tiny_model_dir: Callable[..., Path]
) -> None:
    untouched = AutoModelForCausalLM.from_pretrained(tiny_model_dir(architecture), dtype=torch.float32)
    model = tiny_model(architecture).model
    tree, paths = tree_of(sequences())
    with torch.no_grad():
        found = logits_at(model, tree_inputs(tree, torch.float32), torch.arange(len(tree)))
    for tokens, path in zip(sequences(), paths, strict=True):
        expected = plain_logits(untouched, tokens)
        check_logits(found[path], expected)
        # The same model still does plain passes, which generation needs.
        check_logits(plain_logits(model, tokens), expected)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_a_tree_that_grows_pass_by_pass_gives_the_same_logits(architecture: str, tiny_model: TinyModel) -> None:
    model = tiny_model(architecture).model
    stem, tails = [3] * 12, [[5, 6, 7], [5, 8], [9] * 40]
    cached = CachedTree(model, stem)
    for half in (slice(0, 1), slice(1, None)):
        grown = cached.copy()
        for tail in tails:
            grown.tree.insert(stem + tail[:1])
        grown.compute()
        for _ in range(2):
            # What grew from a copy leaves the tree that it was copied from alone.
            again = grown.copy()
            ends = [again.tree.insert(stem + tail)[-1] for tail in tails[half]]
            for tail, logits in zip(tails[half], again.logits_at(ends), strict=True):
                with torch.no_grad():
                    expected = plain_logits(model, stem + tail)[-1]
                check_logits(logits, expected)
    assert len(cached.tree) == 12


def test_every_node_has_the_logits_of_its_sequence_alone_with_an_adapter(tiny_model_dir: Callable[..., Path]) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir("llama"), dtype=torch.float32)
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    # Some draws of the adapter make logits so large that float32 rounds two right answers further apart than 1e-5.
    torch.manual_seed(0)
    model = peft.get_peft_model(base, config).eval()
    tree, paths = tree_of(sequences())
    expected = [plain_logits(model, tokens) for tokens in sequences()]
    with model.disable_adapter():
        assert not torch.allclose(plain_logits(model, sequences()[0]), expected[0], atol=0.1)
    choose_engine(model)
    with torch.no_grad():
        found = logits_at(model, tree_inputs(tree, torch.float32), torch.arange(len(tree)))
    for path, logits in zip(paths, expected, strict=True):
        check_logits(found[path], logits)


def test_logits_come_in_the_order_asked_for_and_nowhere_else(tiny_model: TinyModel) -> None:
    model = tiny_model().model
    tree, _ = tree_of(sequences())
    inputs = tree_inputs(tree, torch.float32)
    shapes: list[tuple[int, ...]] = []
    hook = model.lm_head.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    with torch.no_grad():
        everywhere = logits_at(model, inputs, torch.arange(len(tree)))
        chosen = logits_at(model, inputs, torch.tensor([40, 3, 17]))
    hook.remove()
    torch.testing.assert_close(chosen, everywhere[[40, 3, 17]])
    assert shapes == [(1, len(tree), 96), (1, 3, 96)]


def test_logits_of_a_half_precision_model_are_float32(tiny_model_dir: Callable[..., Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.bfloat16)
    choose_engine(model)
    tree, (*_, path) = tree_of(sequences())
    with torch.no_grad():
        logits = logits_at(model, tree_inputs(tree, model.dtype), torch.tensor(path))
    assert logits.dtype == torch.float32
    expected = plain_logits(model, sequences()[-1]).float()
    assert (logits - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("architecture", "options", "limit"),
    [
        ("mistral", {}, 64),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, 64),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, None),
        ("mistral", {"sliding_window": None}, None),
    ],
)
def test_sequences_beyond_an_attention_window_are_right(
    architecture: str, options: dict[str, Any], limit: int | None, tiny_model: TinyModel
) -> None:
    model = tiny_model(architecture, **options).model
    assert engine_of(model).name == "tree"
    assert attention_window(model) == limit
    one, other = [5] + [9, 4] * 45, [6] + [9, 4] * 45
    cached = CachedTree(model, [])
    paths = [cached.tree.insert(tokens) for tokens in (one, other)]
    assert exceeds_window(model, cached.tree) == (limit is not None)
    ends = [path[-1] for path in paths]
    with torch.no_grad():
        expected = torch.stack([plain_logits(model, tokens)[-1] for tokens in (one, other)])
        check_logits(cached.logits_at(ends), expected)
        check_logits(next_token_logits(model, cached.tree, ends), expected)


def test_sequences_longer_than_the_models_positions_are_refused(tiny_model: TinyModel) -> None:
    for architecture in ("llama", "gpt2", "gemma2"):
        branches = begin(tiny_model(architecture, max_position_embeddings=64).model)
        fitting = branches.tree.insert([7] * 64)
        branches.logits_at(fitting[-1:])
        beyond = branches.tree.insert([7] * 65)
        with pytest.raises(
            OutctlError, match="a prompt of 65 tokens exceeds the model's max_position_embeddings of 64"
        ):
            branches.logits_at(beyond[-1:])


TEXT = {
    **{"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
}
PICTURES = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        # Its window is a key of the part that reads text.
        ("gemma3", {"text_config": {**TEXT, "sliding_window": 48}, "vision_config": PICTURES}),
        ("gemma3_text", {**TEXT, "sliding_window": 48}),
        ("llama4_text", {**TEXT, "attention_chunk_size": 48, "num_local_experts": 2}),
    ],
)
def test_windows_of_nested_configurations_and_chunks_are_known(architecture: str, options: dict[str, Any]) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **options)).eval()
    assert choose_engine(model).name == "tree"
    assert attention_window(model) == 48
    tree, (path,) = tree_of([[7, 3] * 30])
    with torch.no_grad():
        found = next_token_logits(model, tree, path)
        check_logits(found, plain_logits(model, [7, 3] * 30))


def test_a_sequence_as_long_as_the_window_is_attended_to_whole(tiny_model: TinyModel) -> None:
    """At the length that is not refused yet, the window must not have cut anything yet."""
    model = tiny_model("mistral").model
    one, other = [5] + [9] * 63, [6] + [9] * 63
    tree, paths = tree_of([one, other])
    with torch.no_grad():
        found = logits_at(model, tree_inputs(tree, torch.float32), torch.tensor([path[-1] for path in paths]))
    expected = torch.stack([plain_logits(model, tokens)[-1] for tokens in (one, other)])
    check_logits(found, expected)
    assert (expected[0] - expected[1]).abs().max() > 1e-4
