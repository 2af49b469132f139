import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from outctl.errors import OutctlError
from outctl.models.loading import check_adapter, compute_dtype, load_model

TinyModelDir = Callable[..., Path]


def adapter_for(directory: Path, output: Path, base: str) -> Path:
    """An untrained adapter of a model, said to belong to the weights with hash `base`."""
    adapted = get_peft_model(load_model(directory, "float32", True).model, LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(output)
    (output / "provenance.json").write_text(json.dumps({"spec_hash": "0", "outputs": {}, "base_weights_hash": base}))
    return output


def weights_hash(directory: Path) -> str:
    return str(json.loads((directory / "provenance.json").read_text())["weights_hash"])


def test_an_adapter_is_loaded_on_the_weights_it_was_trained_on_and_on_no_others(
    tmp_path: Path, tiny_model_dir: TinyModelDir
) -> None:
    own, other = tiny_model_dir("llama"), tiny_model_dir("llama", seed=1)
    adapter = adapter_for(own, tmp_path / "adapter", weights_hash(own))
    loaded = load_model(own, "float32", True, adapter)
    assert any("lora_A" in name for name, _ in loaded.model.named_parameters())
    with pytest.raises(OutctlError, match="trained on the weights of another model"):
        load_model(other, "float32", True, adapter)


def test_a_directory_without_an_adapter_is_named(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    with pytest.raises(OutctlError, match=r"no adapter there \(adapter_config.json is missing\)"):
        check_adapter(tmp_path, "0", tiny_model_dir("llama"))


def test_a_directory_that_is_no_prepared_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="not a prepared model; run `outctl fetch-model`"):
        load_model(tmp_path, "float32", True)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_have_the_type_asked_for(tiny_model_dir: TinyModelDir, precision: str, dtype: torch.dtype) -> None:
    loaded = load_model(tiny_model_dir("llama"), precision, True)  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}
    assert loaded.description["precision"] == precision


def test_auto_follows_the_processor(tiny_model_dir: TinyModelDir) -> None:
    assert load_model(tiny_model_dir("llama"), "auto", True).model.dtype == compute_dtype()


def test_nf4_is_double_quantised_and_answers_nearly_as_the_full_weights_do(real_model_dir: Path) -> None:
    quantised = load_model(real_model_dir, "nf4", True)
    layer = quantised.model.model.layers[0].self_attn.q_proj
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    full = load_model(real_model_dir, "bfloat16", True)
    ids = torch.tensor([quantised.tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        expected, found = (loaded.model(ids).logits[0, -1].float().softmax(-1) for loaded in (full, quantised))
    assert 0.0 < 0.5 * (expected - found).abs().sum() < 0.5
    assert expected.argmax() == found.argmax()


def test_code_of_a_repository_is_never_run(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    directory = Path(shutil.copytree(tiny_model_dir("llama"), tmp_path / "model"))
    (directory / "trap.py").write_text("raise SystemExit('code of the repository was run')\n")
    config = json.loads((directory / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "trap.Model", "AutoConfig": "trap.Config"}
    (directory / "config.json").write_text(json.dumps(config))
    provenance = json.loads((directory / "provenance.json").read_text())
    provenance["outputs"]["config.json"]["bytes"] = (directory / "config.json").stat().st_size
    (directory / "provenance.json").write_text(json.dumps(provenance))
    assert load_model(directory, "float32", True).model.config.model_type == "llama"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_truncated_file_of_a_model_is_named_in_one_line(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], name: str
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_model_dir("llama"), directory)
    os.truncate(directory / name, 100)
    with pytest.raises(OutctlError) as refused:
        load_model(directory, "float32", chat=True)
    assert str(refused.value) == (
        f"{directory / name}: missing or not as it was written; start the workflow again, which makes it anew"
    )


def test_weights_that_are_none_are_refused_in_one_line(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_model_dir("llama"), directory)
    weights = directory / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(OutctlError, match=r"model: the model cannot be loaded: .+") as refused:
        load_model(directory, "float32", chat=True)
    assert "\n" not in str(refused.value)
