"""Checkpoints whose weights are already quantised: how, and whether what they need is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from outctl.errors import OutctlError, first_line
from outctl.models.checkpoint import read_config, stored_tensors
from outctl.models.quiet import quietly

LIBRARIES = {
    "awq": ("gptqmodel",),
    "gptq": ("optimum", "gptqmodel"),
    "compressed-tensors": ("compressed-tensors",),
    "auto-round": ("auto-round",),
    "bitsandbytes": ("bitsandbytes",),
    "fp8": ("accelerate",),
    "mxfp4": ("accelerate",),
}
"""Packages that transformers loads each kind of quantised weights with; without special kernels it unpacks the last two."""

FP8_SCALES = (".weight_scale_inv", ".weight_scale", ".scale", ".qscale_weight")
"""How names of what FP8 weights are scaled by end."""


def quantisation_of(directory: Path) -> str | None:
    """How a checkpoint's weights are quantised by its config.json: `awq`, `fp8`, `mxfp4`; None where they are not.

    Raises:
        OutctlError: config.json cannot be read, or does not say how.
    """
    found = read_config(directory).get("quantization_config")
    if not found:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else None
    if isinstance(found, dict) and not method and (found.get("load_in_4bit") or found.get("load_in_8bit")):
        method = "bitsandbytes"
    if not isinstance(method, str):
        raise OutctlError(f"{directory / 'config.json'}: quantization_config has no quant_method")
    if method == "bitsandbytes":
        return str(found.get("bnb_4bit_quant_type", "fp4")) if found.get("load_in_4bit") else "int8"
    return method


def check_library(directory: Path, name: str) -> None:
    """Refuse quantised weights that cannot be loaded with what is installed.

    Raises:
        OutctlError: a package is missing, or transformers does not know how they are quantised.
    """
    quantisation = read_config(directory).get("quantization_config")
    method = quantisation_of(directory)
    if method is None or not isinstance(quantisation, dict):
        return
    known = str(quantisation.get("quant_method", "bitsandbytes"))
    missing = [package for package in LIBRARIES.get(known, ()) if find_spec(package.replace("-", "_")) is None]
    if missing:
        raise OutctlError(
            f"model {name}: its weights are quantised ({method}), which needs the package {' and '.join(missing)}; "
            "install it, or choose a checkpoint without"
        )
    try:
        with quietly():
            _validate(dict(quantisation))
    except RuntimeError:
        # A GPU is missing, which the machine that computes may have.
        return
    except (ImportError, ValueError, TypeError) as error:
        raise OutctlError(
            f"model {name}: its weights are quantised ({method}), which cannot be loaded here: {first_line(error)}"
        ) from None


def check_scales(directory: Path, name: str) -> None:
    """Refuse quantised weights that lack what they are scaled by; some loaders would take them as they are.

    Raises:
        OutctlError: they do.
    """
    method = quantisation_of(directory)
    stored = stored_tensors(directory)
    for key, tensor in stored.items():
        stem = key.removesuffix(".weight")
        if method == "fp8" and tensor.dtype.startswith("F8_E4M3"):
            needed = [stem + ending for ending in FP8_SCALES] + [f"{key}_scale_inv", f"{key}_scale"]
        elif method in ("nf4", "fp4") and tensor.dtype == "U8" and key != stem:
            needed = [f"{key}.absmax"]
        elif method == "int8" and tensor.dtype == "I8" and key != stem:
            needed = [f"{stem}.SCB"]
        elif method == "mxfp4" and key.endswith("_blocks"):
            needed = [key.removesuffix("blocks") + "scales"]
        else:
            continue
        if stored.keys().isdisjoint(needed):
            raise OutctlError(
                f"model {name}: its checkpoint lacks the scales of the quantised {key} ({needed[0]}); take a complete "
                "checkpoint"
            )


def _validate(quantisation: dict[str, Any]) -> None:
    from transformers.quantizers.auto import AutoHfQuantizer, AutoQuantizationConfig

    quantiser = AutoHfQuantizer.from_config(AutoQuantizationConfig.from_dict(quantisation), pre_quantized=True)
    quantiser.validate_environment(device_map={"": "cpu"})


def check_precision(quantisation: str | None, precision: str, what: str) -> None:
    """Refuse a precision of the registry that already quantised weights cannot have.

    Raises:
        OutctlError: they are quantised otherwise.
    """
    if quantisation not in (None, "nf4") and precision == "nf4":
        raise OutctlError(
            f"{what}: its weights are already quantised ({quantisation}), and cannot be quantised to nf4 again; "
            "take `precision: nf4` out of its entry in the registry"
        )


def described(quantisation: str, model: Any, dtype: str) -> str:
    """The precision of a loaded model's quantised weights, for provenance.

    Without a GPU or special kernels transformers unpacks some of them, and then forgets that they were quantised.
    """
    kept = getattr(model.config, "quantization_config", None)
    return quantisation if kept else f"{quantisation}, unpacked to {dtype}"
