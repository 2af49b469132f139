"""Checkpoints that people bring: what is refused at fetch time and how, and what is taken as it is."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from outctl.errors import OutctlError
from outctl.models.preparation import Prepared, prepare
from outctl.models.sources.local import LocalSource

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LAYER = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def original(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> Path:
    """A copy, to be spoilt, of a model in the layout of the hub."""
    return Path(shutil.copytree(tiny_model_dir("llama").parent / "original", tmp_path / "original"))


@pytest.fixture
def tied(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> Path:
    """A copy, to be spoilt, of a model whose output projection is its embedding."""
    return Path(shutil.copytree(tiny_model_dir("qwen2").parent / "original", tmp_path / "original"))


def prepared(original: Path) -> Prepared:
    target = original.with_name("prepared")
    target.mkdir()
    return prepare(LocalSource(kind="local", path=str(original)), "mine", target)


def refusal(original: Path) -> str:
    with pytest.raises(OutctlError) as caught:
        prepared(original)
    return str(caught.value)


def change_weights(original: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(original / WEIGHTS)
    change(weights)
    save_file(weights, original / WEIGHTS, metadata={"format": "pt"})


def change_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def shard(original: Path) -> None:
    """Spread the weights over two files with an index."""
    weights = load_file(original / WEIGHTS)
    (original / WEIGHTS).unlink()
    names = {name: f"model-0000{1 + (name > LAYER)}-of-00002.safetensors" for name in weights}
    for file in set(names.values()):
        own = {name: tensor for name, tensor in weights.items() if names[name] == file}
        save_file(own, original / file, metadata={"format": "pt"})
    (original / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("lm_head.weight"), "its checkpoint lacks lm_head.weight;"),
        (lambda weights: weights.pop(LAYER), f"its checkpoint lacks {LAYER};"),
        (
            lambda weights: [
                weights.pop(name) for name in list(weights) if "layers.0.mlp" in name or "layers.1" in name
            ],
            "model.layers.0.mlp.down_proj.weight, model.layers.0.mlp.gate_proj.weight, model.layers.0.mlp.up_proj.weight "
            "and 9 more;",
        ),
        (
            lambda weights: weights.update({"model.layers.0.mlp.extra.weight": torch.zeros(2)}),
            "has tensors that its architecture does not know: model.layers.0.mlp.extra.weight;",
        ),
        (
            lambda weights: weights.update({LAYER: torch.zeros(47, 32)}),
            f"has shapes that config.json does not give: {LAYER} (is (47, 32), should be (48, 32));",
        ),
        (
            lambda weights: weights.update({LAYER.replace("up", "wrong"): weights.pop(LAYER)}),
            f"lacks {LAYER}, and has tensors that its architecture does not know: {LAYER.replace('up', 'wrong')};",
        ),
    ],
    ids=["head", "layer", "many", "unexpected", "shape", "renamed"],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    original: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    change_weights(original, change)
    assert message in refusal(original)


def test_the_configuration_decides_which_tensors_are_needed(original: Path) -> None:
    change_json(original / "config.json", num_hidden_layers=1)
    assert "has tensors that its architecture does not know: model.layers.1.input_layernorm.weight" in refusal(original)


def test_a_tied_head_may_be_left_out(tied: Path) -> None:
    assert "lm_head.weight" not in load_file(tied / WEIGHTS)
    assert prepared(tied).parameters == sum(tensor.numel() for tensor in load_file(tied / WEIGHTS).values())


def test_a_tied_head_may_be_stored_again(tied: Path) -> None:
    change_weights(
        tied, lambda weights: weights.update({"lm_head.weight": weights["model.embed_tokens.weight"].clone()})
    )
    prepared(tied)


def test_a_tied_head_that_differs_is_refused(tied: Path) -> None:
    def differ(weights: dict[str, torch.Tensor]) -> None:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        weights["lm_head.weight"][-1, -1] += 1.0

    change_weights(tied, differ)
    assert "ties lm_head.weight to model.embed_tokens.weight, and the checkpoint holds other values" in refusal(tied)


def test_experts_are_counted_before_they_are_merged(tmp_path: Path, make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    config = AutoConfig.for_model(
        "qwen3_moe",
        vocab_size=len(tokenizer),
        **{"hidden_size": 16, "intermediate_size": 16, "moe_intermediate_size": 8, "num_hidden_layers": 1},
        **{
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "original")
    tokenizer.save_pretrained(tmp_path / "original")
    expert = "model.layers.0.mlp.experts.2.down_proj.weight"
    kept = {}
    change_weights(tmp_path / "original", lambda weights: kept.update({expert: weights.pop(expert)}))
    assert "model.layers.0.mlp.experts.down_proj (is (3, 16, 8), should be (4, 16, 8))" in refusal(
        tmp_path / "original"
    )
    shutil.rmtree(tmp_path / "prepared")
    change_weights(tmp_path / "original", lambda weights: weights.update({expert: kept[expert][:5].clone()}))
    assert f"{expert} differ in shape" in refusal(tmp_path / "original")
    shutil.rmtree(tmp_path / "prepared")
    change_weights(tmp_path / "original", lambda weights: weights.update(kept))
    prepared(tmp_path / "original")


def test_shards_are_taken_by_their_index(original: Path) -> None:
    whole = load_file(original / WEIGHTS)
    shard(original)
    assert prepared(original).parameters == sum(tensor.numel() for tensor in whole.values())
    names = {file.name for file in original.with_name("prepared").iterdir()}
    assert {INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} <= names


def test_a_missing_shard_is_named(original: Path) -> None:
    shard(original)
    (original / "model-00002-of-00002.safetensors").unlink()
    assert "the shard model-00002-of-00002.safetensors is missing" in refusal(original)


def test_shards_without_their_index_are_refused(original: Path) -> None:
    shard(original)
    (original / INDEX).unlink()
    expected = "holds model-00001-of-00002.safetensors, but neither model.safetensors nor model.safetensors.index.json"
    assert expected in refusal(original)


def test_an_index_that_leads_out_of_its_directory_is_refused(original: Path) -> None:
    shard(original)
    change_json(original / INDEX, weight_map={LAYER: "../other.safetensors"})
    assert "names ../other.safetensors, which is no file beside it" in refusal(original)


def test_weights_that_were_cut_off_are_refused(original: Path) -> None:
    size = (original / WEIGHTS).stat().st_size
    os.truncate(original / WEIGHTS, size - 1)
    assert f"{original / WEIGHTS}: has {size - 1} bytes in place of {size}; fetch the file again" in refusal(original)


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x08" + b"\0" * 7 + b"[1,2,3] "]
)
def test_a_file_of_another_kind_is_no_safetensors_file(original: Path, content: bytes) -> None:
    (original / WEIGHTS).write_bytes(content)
    assert f"{original / WEIGHTS}: not a safetensors file" in refusal(original)


def test_other_files_than_those_that_are_loaded_stay_behind(original: Path) -> None:
    shutil.copyfile(original / WEIGHTS, original / "consolidated.safetensors")
    (original / "pytorch_model.bin").write_bytes(b"pickle")
    (original / "modeling_mine.py").write_text("raise SystemExit")
    before = prepared(original)
    names = {file.name for file in original.with_name("prepared").iterdir()}
    assert names.isdisjoint({"consolidated.safetensors", "pytorch_model.bin", "modeling_mine.py"})
    (original / "consolidated.safetensors").unlink()
    shutil.rmtree(original.with_name("prepared"))
    assert prepared(original) == before


def test_pickled_weights_alone_are_refused(original: Path) -> None:
    torch.save(load_file(original / WEIGHTS), original / "pytorch_model.bin")
    (original / WEIGHTS).unlink()
    assert "holds only pickled weights (pytorch_model.bin), which can run code" in refusal(original)


def test_an_adapter_beside_the_model_is_refused(original: Path) -> None:
    (original / "adapter_config.json").write_text("{}")
    assert "holds an adapter beside the model (adapter_config.json)" in refusal(original)


def test_an_adapter_alone_is_no_model(original: Path) -> None:
    (original / WEIGHTS).unlink()
    (original / "adapter_config.json").write_text("{}")
    assert "holds an adapter (adapter_config.json) and no model" in refusal(original)


def extend_tokenizer(original: Path, token: str, special: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(original)
    tokenizer.add_tokens([token], special_tokens=special)
    tokenizer.save_pretrained(original)


def set_template(original: Path, template: str) -> None:
    (original / "chat_template.jinja").write_text(template)


TURNS = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("token", "special", "template"),
    [
        ("<|extra|>", True, "<|extra|>" + TURNS),
        ("<|extra|>", True, "{{ '<|' + 'extra|>' }}" + TURNS),
        ("<|system|>!", True, TURNS.replace("|>", "|>!")),
        ("antelope", False, TURNS),
    ],
    ids=["written", "put together", "by role", "in texts"],
)
def test_tokens_beyond_the_embedding_are_refused(original: Path, token: str, special: bool, template: str) -> None:
    embedded = len(AutoTokenizer.from_pretrained(original))
    extend_tokenizer(original, token, special)
    set_template(original, template)
    expected = (
        f"has the token {token!r} with the id {embedded}, and the model embeds {embedded} ids (0 to {embedded - 1})"
    )
    assert expected in refusal(original)


def test_tokens_that_nothing_asks_for_may_lie_beyond_the_embedding(original: Path) -> None:
    extend_tokenizer(original, "<image>", special=True)
    prepared(original)


def test_the_end_token_must_be_embedded(original: Path) -> None:
    extend_tokenizer(original, "<|finish|>", special=True)
    change_json(original / "tokenizer_config.json", eos_token="<|finish|>")
    assert "has the token '<|finish|>'" in refusal(original)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "Quantum", "vocab": {}}},
        {"pre_tokenizer": {"type": "Teleport"}},
        {"normalizer": {"type": "Replace", "pattern": {"Glob": "*"}, "content": ""}},
        {"version": "2.0"},
    ],
)
def test_a_tokenizer_of_another_version_is_refused(original: Path, change: dict[str, Any]) -> None:
    change_json(original / "tokenizer.json", **change)
    assert "its configuration or tokenizer cannot be loaded by tokenizers 0." in refusal(original)


def test_a_broken_tokenizer_is_refused(original: Path) -> None:
    (original / "tokenizer.json").write_bytes((original / "tokenizer.json").read_bytes()[:-100])
    assert "its configuration or tokenizer cannot be loaded" in refusal(original)


@pytest.mark.parametrize(
    ("quantisation", "message"),
    [
        ({"quant_method": "awq", "bits": 4}, "quantised (awq), which needs the package gptqmodel; install it"),
        ({"quant_method": "gptq", "bits": 4}, "quantised (gptq), which needs the package optimum and gptqmodel;"),
        ({"quant_method": "compressed-tensors"}, "(compressed-tensors), which needs the package compressed-tensors;"),
        ({"quant_method": "of-tomorrow"}, "quantised (of-tomorrow), which cannot be loaded here: Unknown quantization"),
        ({"bits": 4}, "config.json: quantization_config has no quant_method"),
    ],
)
def test_quantised_weights_name_the_package_that_they_need(
    original: Path, quantisation: dict[str, Any], message: str
) -> None:
    change_json(original / "config.json", quantization_config=quantisation)
    assert message in refusal(original)


def test_files_are_linked_and_keep_their_permissions(original: Path) -> None:
    (original / WEIGHTS).chmod(0o640)
    prepared(original)
    for file in original.with_name("prepared").iterdir():
        assert file.samefile(original / file.name)
    assert (original / WEIGHTS).stat().st_mode & 0o777 == 0o640


def test_across_file_systems_files_are_referred_to(original: Path, small_disk: Path) -> None:
    target = small_disk / "prepared"
    target.mkdir()
    prepare(LocalSource(kind="local", path=str(original)), "mine", target)
    assert (target / WEIGHTS).is_symlink()
    assert (target / WEIGHTS).samefile(original / WEIGHTS)


def test_named_templates_are_taken_from_their_folder(original: Path) -> None:
    default = (original / "chat_template.jinja").read_text()
    (original / "additional_chat_templates").mkdir()
    (original / "additional_chat_templates" / "rag.jinja").write_text("rag" + TURNS)
    before = (original / "tokenizer_config.json").read_bytes()
    prepared(original)
    tokenizer = AutoTokenizer.from_pretrained(original.with_name("prepared"))
    assert tokenizer.chat_template == {"default": default, "rag": "rag" + TURNS}
    assert (original / "tokenizer_config.json").read_bytes() == before


@pytest.mark.parametrize("own", [None, "mine" + TURNS])
def test_the_template_of_a_processor_stands_in_where_the_tokenizer_has_none(original: Path, own: str | None) -> None:
    (original / "chat_template.jinja").unlink()
    change_json(original / "tokenizer_config.json", **({"chat_template": own} if own else {}))
    (original / "chat_template.json").write_text(json.dumps({"chat_template": TURNS}))
    prepared(original)
    assert AutoTokenizer.from_pretrained(original.with_name("prepared")).chat_template == (own or TURNS)
