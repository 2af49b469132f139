"""GGUF files, which the tests write themselves: what becomes of their weights, and which of them are refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from conftest import random_model
from outctl.errors import OutctlError
from outctl.models.gguf import header_of, shards_of
from outctl.models.preparation import prepare
from outctl.models.sources.local import LocalSource

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "model.layers": "blk",
}
F32, F16, Q8 = (gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q8_0"))


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of a query or key projection in llama.cpp's order, which turns neighbours where transformers turns halves."""
    halves = weight.view(heads, 2, -1, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def in_gguf(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """A model's tensors as llama.cpp stores them."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    tensors = {}
    for name, tensor in model.state_dict().items():
        for projection, count in heads.items():
            if projection in name:
                tensor = interleaved(tensor, count)
        for hub, short in NAMES.items():
            name = name.replace(hub, short)
        tensors[name] = tensor.numpy()
    return tensors


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    kind: gguf.GGMLQuantizationType = F32,
    more: dict[str, Any] | None = None,
    shard_tensors: int = 0,
) -> Path:
    """Write a model as a GGUF file, or as shards of so many tensors each; gives the first file."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=shard_tensors)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    for key, value in (more or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(key, value)
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_ids)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([piece for piece, _ in pieces])
    writer.add_token_types([3 if number in special else 1 for _, number in pieces])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(True)
    for name, tensor in in_gguf(model).items():
        matrix = tensor.ndim == 2
        if matrix and kind == F16:
            writer.add_tensor(name, tensor.astype(np.float16))
        elif matrix and kind == Q8 and tensor.shape[1] % 32 == 0:
            writer.add_tensor(name, quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if path.is_file() else min(path.parent.glob(f"{path.stem}-*.gguf"))


@pytest.fixture
def tokenizer(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    """The tiny tokenizer."""
    return make_tokenizer()


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A tiny Llama model whose vocabulary is that of the tokenizer."""
    return random_model(tokenizer, "llama", 3)


def converted(path: Path) -> Path:
    """The prepared model of a GGUF file."""
    target = path.parent / "prepared"
    target.mkdir()
    prepare(LocalSource(kind="local", path=str(path)), "mine", target)
    return target


def refusal(path: Path) -> str:
    with pytest.raises(OutctlError) as caught:
        converted(path)
    return str(caught.value)


QUESTION = torch.tensor([[8, 20, 31, 44, 12, 9]])


def logits(directory: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)(QUESTION).logits


def test_a_file_that_is_not_quantised_keeps_its_numbers(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer)
    directory = converted(path)
    with torch.no_grad():
        assert torch.allclose(logits(directory), model(QUESTION).logits, atol=1e-5)
    weights = load_file(directory / "model.safetensors")
    assert torch.equal(weights["model.embed_tokens.weight"], model.model.embed_tokens.weight)
    text = "ark, atom: Ark 3"
    assert AutoTokenizer.from_pretrained(directory)(text)["input_ids"] == tokenizer(text)["input_ids"]
    expected = sum(tensor.numel() for tensor in model.state_dict().values())
    assert LocalSource(kind="local", path=str(path)).parameters() == expected


def test_half_precision_stays_half_precision(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    directory = converted(write_gguf(tmp_path / "model.gguf", model, tokenizer, F16))
    weights = load_file(directory / "model.safetensors")
    assert torch.equal(weights["lm_head.weight"], model.lm_head.weight.half())


def test_quantised_weights_are_their_blocks_times_their_scales(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    directory = converted(write_gguf(tmp_path / "model.gguf", model, tokenizer, Q8))
    # Q8_0: 32 weights share a scale in float16, and are whole numbers of 8 bits.
    blocks = quantize(model.lm_head.weight.detach().numpy(), Q8).reshape(-1, 34)
    scales, whole = blocks[:, :2].copy().view(np.float16), blocks[:, 2:].view(np.int8)
    expected = torch.from_numpy(scales.astype(np.float32) * whole).reshape(model.lm_head.weight.shape)
    weights = load_file(directory / "model.safetensors")
    assert torch.equal(weights["lm_head.weight"], expected.to(torch.bfloat16))


def test_shards_are_joined(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    (tmp_path / "one").mkdir()
    whole = converted(write_gguf(tmp_path / "one" / "model.gguf", model, tokenizer, Q8))
    first = write_gguf(tmp_path / "model.gguf", model, tokenizer, Q8, shard_tensors=7)
    assert first.name == "model-00001-of-00003.gguf"
    assert (
        sum(header_of(file).parameters for file in shards_of(first))
        == LocalSource(kind="local", path=str(first)).parameters()
    )
    joined = converted(first)
    assert (joined / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert torch.equal(logits(joined), logits(whole))


def test_a_missing_shard_is_named(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    first = write_gguf(tmp_path / "model.gguf", model, tokenizer, shard_tensors=7)
    (tmp_path / "model-00002-of-00003.gguf").unlink()
    assert f"there is no file {tmp_path / 'model-00002-of-00003.gguf'}" in refusal(first)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0},
            "ignores llama.rope.scaling.type = linear",
        ),
        ({"llama.logit_scale": 0.25}, "ignores llama.logit_scale = 0.25"),
        ({"llama.attention.sliding_window": 16.0}, "ignores llama.attention.sliding_window = 16.0"),
    ],
)
def test_settings_that_would_be_lost_are_refused(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, more: dict[str, Any], message: str
) -> None:
    assert message in refusal(write_gguf(tmp_path / "model.gguf", model, tokenizer, more=more))


def test_positions_that_are_not_scaled_are_taken(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    converted(write_gguf(tmp_path / "model.gguf", model, tokenizer, more={"llama.rope.scaling.type": "none"}))


def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer)
    os.truncate(path, 700)
    assert "model.gguf: not a whole GGUF file" in refusal(path)
    path.unlink()
    write_gguf(path, model, tokenizer)
    os.truncate(path, path.stat().st_size - 40)
    (tmp_path / "prepared").rmdir()
    assert "model.gguf" in refusal(path)


def test_another_file_is_no_gguf(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"<html>not found</html>")
    assert "model.gguf: not a whole GGUF file (it does not begin with GGUF)" in refusal(path)


def test_a_directory_with_a_gguf_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "model.gguf").write_bytes(b"GGUF")
    target = tmp_path / "prepared"
    target.mkdir()
    with pytest.raises(OutctlError, match=r"for the GGUF file give its own path: .*original/model\.gguf"):
        prepare(LocalSource(kind="local", path=str(tmp_path / "original")), "mine", target)
