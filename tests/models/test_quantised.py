"""Checkpoints whose weights are quantised in their files: they compute what their numbers say, or are refused at fetch time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from outctl.errors import OutctlError
from outctl.models.checkpoint import count_parameters
from outctl.models.loading import LoadedModel, load_model
from outctl.models.sources.local import LocalSource
from outctl.pipeline.specs import Spec
from outctl.stages.fetch_model import FetchSettings
from outctl.stages.fetch_model import run as fetch_model

IDS = torch.tensor([[5, 9, 3, 7, 7, 2, 41, 23]])
FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""What the lower three of an FP4 number's bits stand for; the fourth is its sign."""
BLOCK = 16
WEIGHTS = "model.safetensors"


def fetched(original: Path) -> Path:
    """The model prepared as the workflow does it."""
    settings = FetchSettings(source=LocalSource(kind="local", path=str(original))).model_dump(mode="json")
    spec = Spec(stage="fetch-model", settings=settings, upstream={}, code="0" * 64, packages={})
    fetch_model(spec, "mine", original.with_name("prepared"))
    return original.with_name("prepared")


def logits(model: Any) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(input_ids=IDS.to(model.device)).logits[0].float()
    return found


def plain(directory: Path, weights: dict[str, Tensor]) -> Tensor:
    """Logits of the unquantised model with some of its weights replaced."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            own[name].copy_(weight)
    return logits(model)


def differ(found: Tensor, expected: Tensor) -> float:
    """The difference as a part of the norm."""
    return ((found - expected).norm() / expected.norm()).item()


def rewrite(directory: Path, target: Path, change: Callable[[dict[str, Tensor]], None], quantisation: Any) -> None:
    """Write a model with other tensors, and what its configuration says of them."""
    target.mkdir()
    AutoTokenizer.from_pretrained(directory).save_pretrained(target)
    weights = load_file(directory / WEIGHTS)
    change(weights)
    save_file(weights, target / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"quantization_config": quantisation}))


def loaded(target: Path) -> LoadedModel:
    return load_model(fetched(target), "float32", chat=True)


@pytest.fixture
def saved_by_bitsandbytes(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> Callable[..., tuple[Path, Any]]:
    """Save a tiny model as people do who publish quantised checkpoints; gives the directory, and the model that was saved."""

    def save(**options: Any) -> tuple[Path, Any]:
        model = AutoModelForCausalLM.from_pretrained(
            tiny_model_dir(), quantization_config=BitsAndBytesConfig(**options), dtype=torch.float32, device_map="auto"
        )
        model.save_pretrained(tmp_path / "original")
        AutoTokenizer.from_pretrained(tiny_model_dir()).save_pretrained(tmp_path / "original")
        return tmp_path / "original", model

    return save


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_of_bitsandbytes_are_read_as_they_are(
    kind: str, saved_by_bitsandbytes: Callable[..., tuple[Path, Any]], tiny_model_dir: Callable[..., Path]
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    options = {"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": kind == "nf4"}
    original, saved = saved_by_bitsandbytes(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, **options)
    found = loaded(original)
    assert found.description["precision"] == kind
    unpacked = {
        f"{name}.weight": dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        for name, module in saved.named_modules()
        if hasattr(module.weight if hasattr(module, "weight") else None, "quant_state")
    }
    assert len(unpacked) == 14
    assert differ(logits(found.model), plain(tiny_model_dir(), unpacked)) < 1e-5
    assert differ(logits(found.model), plain(tiny_model_dir(), {})) > 1e-3
    assert count_parameters(original) == count_parameters(tiny_model_dir())
    if kind == "nf4":
        assert torch.equal(logits(load_model(original.with_name("prepared"), "nf4", True).model), logits(found.model))


@pytest.mark.slow
def test_eight_bits_of_bitsandbytes_are_read_as_they_are(
    saved_by_bitsandbytes: Callable[..., tuple[Path, Any]], tiny_model_dir: Callable[..., Path]
) -> None:
    original, saved = saved_by_bitsandbytes(load_in_8bit=True)
    found = loaded(original)
    assert found.description["precision"] == "int8"
    assert differ(logits(found.model), logits(saved)) == 0.0
    with pytest.raises(
        OutctlError, match=r"its weights are already quantised \(int8\), and cannot be quantised to nf4"
    ):
        load_model(original.with_name("prepared"), "nf4", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "scales"), [({"load_in_4bit": True}, "weight.absmax"), ({"load_in_8bit": True}, "SCB")]
)
def test_weights_of_bitsandbytes_without_a_scale_are_refused_by_name(
    options: dict[str, bool], scales: str, saved_by_bitsandbytes: Callable[..., tuple[Path, Any]]
) -> None:
    original, _ = saved_by_bitsandbytes(**options)
    weights = load_file(original / WEIGHTS)
    weights.pop(f"model.layers.1.mlp.up_proj.{scales}")
    save_file(weights, original / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(OutctlError, match=r"lacks the scales of the quantised model\.layers\.1\.mlp\.up_proj\.weight"):
        fetched(original)


def to_fp8(weights: dict[str, Tensor]) -> None:
    """Keep linear layers in FP8, with a scale for each square block."""
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        rows, columns = (size // BLOCK for size in weights[name].shape)
        blocks = weights[name].reshape(rows, BLOCK, columns, BLOCK)
        scales = blocks.abs().amax((1, 3)) / 448.0
        weights[name] = (blocks / scales[:, None, :, None]).reshape(weights[name].shape).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scales


def from_fp8(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    unpacked = {}
    for name, scales in weights.items():
        if name.endswith("_scale_inv"):
            spread = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
            unpacked[name.removesuffix("_scale_inv")] = weights[name.removesuffix("_scale_inv")].float() * spread
    return unpacked


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}


def test_fp8_is_unpacked(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    rewrite(tiny_model_dir(), tmp_path / "original", to_fp8, FP8)
    found = loaded(tmp_path / "original")
    assert found.description["precision"] == "fp8, unpacked to float32"
    unpacked = from_fp8(load_file(tmp_path / "original" / WEIGHTS))
    assert len(unpacked) == 14
    assert differ(logits(found.model), plain(tiny_model_dir(), unpacked)) < 1e-5
    assert differ(logits(found.model), plain(tiny_model_dir(), {})) > 1e-3
    assert count_parameters(tmp_path / "original") == count_parameters(tiny_model_dir())


def test_fp8_without_a_scale_is_refused_by_name(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    def lose_one(weights: dict[str, Tensor]) -> None:
        to_fp8(weights)
        weights.pop("model.layers.1.mlp.up_proj.weight_scale_inv")

    rewrite(tiny_model_dir(), tmp_path / "original", lose_one, FP8)
    with pytest.raises(OutctlError, match=r"lacks the scales of the quantised model\.layers\.1\.mlp\.up_proj\.weight"):
        fetched(tmp_path / "original")


def to_mxfp4(weights: dict[str, Tensor]) -> None:
    """Keep experts in MXFP4: two numbers a byte, and an exponent for each 32 along the input."""
    for name in [name for name in weights if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        rows = weights.pop(name).transpose(1, 2)
        blocks = rows.reshape(*rows.shape[:2], -1, 32)
        exponents = (blocks.abs().amax(-1) / 6.0).log2().ceil()
        scaled = blocks / exponents.exp2()[..., None]
        nearest = (scaled.abs()[..., None] - FP4).abs().argmin(-1)
        codes = (nearest + 8 * (scaled < 0)).to(torch.uint8)
        weights[f"{name}_blocks"] = (codes[..., 0::2] | (codes[..., 1::2] << 4)).contiguous()
        weights[f"{name}_scales"] = (exponents + 127).to(torch.uint8)


def from_mxfp4(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    unpacked = {}
    for name, packed in weights.items():
        if name.endswith("_blocks"):
            codes = torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()
            values = FP4[codes % 8] * torch.where(codes >= 8, -1.0, 1.0)
            exponents = weights[name.replace("_blocks", "_scales")].float() - 127
            rows = (values * exponents.exp2()[..., None]).flatten(-2)
            unpacked[name.removesuffix("_blocks")] = rows.transpose(1, 2)
    return unpacked


def test_mxfp4_of_gpt_oss_is_unpacked(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    base = tiny_model_dir("gpt_oss", intermediate_size=64)
    rewrite(base, tmp_path / "original", to_mxfp4, {"quant_method": "mxfp4"})
    found = loaded(tmp_path / "original")
    assert found.description["precision"] == "mxfp4, unpacked to float32"
    unpacked = from_mxfp4(load_file(tmp_path / "original" / WEIGHTS))
    assert len(unpacked) == 4
    assert differ(logits(found.model), plain(base, unpacked)) < 1e-5
    assert differ(logits(found.model), plain(base, {})) > 1e-3
    assert count_parameters(tmp_path / "original") == count_parameters(base)


def test_mxfp4_without_its_scales_is_refused_by_name(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    def lose_one(weights: dict[str, Tensor]) -> None:
        to_mxfp4(weights)
        weights.pop("model.layers.1.mlp.experts.down_proj_scales")

    base = tiny_model_dir("gpt_oss", intermediate_size=64)
    rewrite(base, tmp_path / "original", lose_one, {"quant_method": "mxfp4"})
    with pytest.raises(OutctlError, match=r"the quantised model\.layers\.1\.mlp\.experts\.down_proj_blocks"):
        fetched(tmp_path / "original")
