"""One forward pass over a tree against one pass a sequence, and the models that cannot do it."""

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
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_attention import tree_inputs
from outctl.inference.tree_forward import CachedTree, enable_trees, logits_at
from outctl.models.loading import LoadedModel

TinyModel = Callable[..., LoadedModel]
SIZES: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "mamba": {"num_hidden_layers": 2, "state_size": 4},
    "rwkv": {"num_hidden_layers": 2, "attention_hidden_size": 32},
}
"""Architectures that make their own mask, attend in their own way, or carry a state from token to token."""


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
    enable_trees(model)
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
    enable_trees(model)
    tree, (*_, path) = tree_of(sequences())
    with torch.no_grad():
        logits = logits_at(model, tree_inputs(tree, model.dtype), torch.tensor(path))
    assert logits.dtype == torch.float32
    expected = plain_logits(model, sequences()[-1]).float()
    assert (logits - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("architecture", SIZES)
def test_architectures_without_tree_attention_are_refused(architecture: str) -> None:
    config = AutoConfig.for_model(architecture, vocab_size=64, hidden_size=32, **SIZES[architecture])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    with pytest.raises(OutctlError, match=f"models of type '{architecture}' do not"):
        enable_trees(model)


def test_attention_window_shorter_than_the_trial_is_refused(tiny_model_dir: Callable[..., Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir("mistral", sliding_window=8), dtype=torch.float32)
    with pytest.raises(OutctlError, match="a prompt of 40 tokens exceeds the model's sliding_window of 8"):
        enable_trees(model)


@pytest.mark.parametrize(
    ("architecture", "options", "limit", "name"),
    [
        ("llama", {}, 512, "max_position_embeddings"),
        ("mistral", {}, 64, "sliding_window"),
        ("mistral", {"sliding_window": None}, 512, "max_position_embeddings"),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, 512, "max_position_embeddings"),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, 64, "sliding_window"),
    ],
)
def test_sequences_longer_than_the_model_attends_to_are_refused(
    architecture: str, options: dict[str, Any], limit: int, name: str, tiny_model: TinyModel
) -> None:
    model = tiny_model(architecture, **options).model
    fitting, _ = tree_of([[7] * limit, [8] * (limit - 1)])
    with torch.no_grad():
        logits_at(model, tree_inputs(fitting, torch.float32), torch.tensor([0]))
    beyond, _ = tree_of([[7] * (limit + 1), [8]])
    message = f"a prompt of {limit + 1} tokens exceeds the model's {name} of {limit}"
    with pytest.raises(OutctlError, match=message):
        logits_at(model, tree_inputs(beyond, torch.float32), torch.tensor([0]))
    cached = CachedTree(model, [7] * (limit - 1))
    cached.tree.insert([7] * (limit + 1))
    with pytest.raises(OutctlError, match=message):
        cached.compute()


TEXT = {
    **{"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
}
PICTURES = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}


@pytest.mark.parametrize(
    ("architecture", "options", "name"),
    [
        # Its window is a key of the part that reads text.
        ("gemma3", {"text_config": {**TEXT, "sliding_window": 48}, "vision_config": PICTURES}, "sliding_window"),
        ("gemma3_text", {**TEXT, "sliding_window": 48}, "sliding_window"),
        ("llama4_text", {**TEXT, "attention_chunk_size": 48, "num_local_experts": 2}, "attention_chunk_size"),
    ],
)
def test_windows_of_nested_configurations_and_chunks_are_known(
    architecture: str, options: dict[str, Any], name: str
) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **options)).eval()
    enable_trees(model)
    fitting, _ = tree_of([[7] * 48])
    beyond, _ = tree_of([[7] * 49])
    with torch.no_grad():
        logits_at(model, tree_inputs(fitting, torch.float32), torch.tensor([0]))
    with pytest.raises(OutctlError, match=f"a prompt of 49 tokens exceeds the model's {name} of 48"):
        logits_at(model, tree_inputs(beyond, torch.float32), torch.tensor([0]))


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
