import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from outctl.errors import OutctlError
from outctl.models import loading
from outctl.models.loading import LoadedModel, check_adapter, compute_dtype, load_model
from outctl.models.snapshots import is_whole

TinyModelDir = Callable[..., Path]


def adapter_for(directory: Path, output: Path, base: str) -> Path:
    """An adapter of a model, said to belong to the weights with hash `base`."""
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(load_model(directory, "float32", True).model, config)
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
        check_adapter(tmp_path, tiny_model_dir("llama"))


def test_a_directory_that_is_no_prepared_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="not a prepared model; run `outctl fetch-model`"):
        load_model(tmp_path, "float32", True)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_have_the_type_asked_for(tiny_model_dir: TinyModelDir, precision: str, dtype: torch.dtype) -> None:
    loaded = load_model(tiny_model_dir("llama"), precision, True)  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}
    assert loaded.description["precision"] == precision


def test_auto_evaluates_small_models_in_float32_and_trains_in_what_the_processor_computes_in(
    tiny_model_dir: TinyModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_model_dir("llama")
    assert load_model(directory, "auto", True, training=True).model.dtype == compute_dtype()
    monkeypatch.setattr(loading, "compute_dtype", lambda: torch.bfloat16)
    evaluated = load_model(directory, "auto", True)
    assert evaluated.model.dtype == torch.float32
    assert evaluated.description["precision"] == "float32"
    assert load_model(directory, "auto", True, training=True).model.dtype == torch.bfloat16
    monkeypatch.setattr(loading, "FLOAT32_PARAMETERS", 1000)
    assert load_model(directory, "auto", True).model.dtype == torch.bfloat16
    assert load_model(directory, "float32", True, training=True).model.dtype == torch.float32


@pytest.mark.slow
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


@pytest.fixture
def own_real_model(tmp_path: Path, real_model_dir: Path) -> Path:
    """The embedded model in a folder of its own, where nobody has left a snapshot."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "real").symlink_to(real_model_dir)
    return folder / "real"


def answers(loaded: LoadedModel) -> torch.Tensor:
    ids = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        logits: torch.Tensor = loaded.model(ids).logits
    return logits


def snapshots(directory: Path) -> list[Path]:
    return sorted(path for path in (directory.parent / ".nf4" / directory.name).glob("*") if path.is_dir())


@pytest.mark.slow
def test_a_snapshot_gives_the_very_numbers_that_quantising_gives(own_real_model: Path) -> None:
    quantised = answers(load_model(own_real_model, "nf4", True))
    (snapshot,) = snapshots(own_real_model)
    written = {file.name: file.stat().st_mtime_ns for file in snapshot.iterdir()}
    # The embeddings stay in the type that is computed in, and are a fifth of this model.
    most = 0.6 if compute_dtype() == torch.bfloat16 else 0.7
    assert sum(file.stat().st_size for file in snapshot.iterdir()) < most * 269_060_552
    again = load_model(own_real_model, "nf4", True)
    assert again.model.model.layers[0].self_attn.q_proj.weight.quant_state.nested
    assert Path(again.model.config._name_or_path) == snapshot
    assert torch.equal(answers(again), quantised)
    assert {file.name: file.stat().st_mtime_ns for file in snapshot.iterdir()} == written


@pytest.mark.slow
def test_a_broken_or_outdated_snapshot_is_made_again(own_real_model: Path) -> None:
    quantised = answers(load_model(own_real_model, "nf4", True))
    (snapshot,) = snapshots(own_real_model)
    os.truncate(snapshot / "model.safetensors", 1000)
    outdated = snapshot.with_name("cpu-0000000000000000")
    outdated.mkdir()
    for _ in range(2):
        assert torch.equal(answers(load_model(own_real_model, "nf4", True)), quantised)
    assert snapshots(own_real_model) == [snapshot]
    assert is_whole(snapshot)


@pytest.mark.slow
def test_a_model_is_quantised_where_no_snapshot_can_be_kept(
    own_real_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_real_model.parent / ".nf4").write_text("a file in the way")
    assert load_model(own_real_model, "nf4", True).description["precision"] == "nf4"
    assert "not kept, so the next job quantises again" in capsys.readouterr().out


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
    with pytest.raises(OutctlError, match=r"model\.safetensors: missing or not as it was written"):
        load_model(directory, "float32", chat=True)
    # A time from before the model was prepared.
    os.utime(weights, (0, 0))
    with pytest.raises(OutctlError, match=r"model: the model cannot be loaded: .+") as refused:
        load_model(directory, "float32", chat=True)
    assert "\n" not in str(refused.value)
