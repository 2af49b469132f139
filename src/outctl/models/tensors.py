"""Whether a checkpoint's tensors are those of its architecture, found out from the headers of its files alone."""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from outctl.errors import OutctlError, first_line
from outctl.models.auto_class import auto_class
from outctl.models.checkpoint import Stored, stored_tensors
from outctl.models.quiet import quietly

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Types as safetensors spells them."""
WITHOUT_DATA = ("fp8", "mxfp4", "mxfp8")
"""Kinds of quantised weights that can be loaded without data."""
SHOWN = 3
"""Names of tensors that a message lists."""
ROWS = 4096
"""Rows of two tensors that are compared at a time."""


def check_tensors(directory: Path, config: Any, name: str) -> Any:
    """Refuse a checkpoint unless its tensors are just those that its architecture needs.

    transformers would fill what is missing with random numbers, different ones each time. Its own loading, renaming and
    merging of tensors is run on tensors without data, which costs no memory.

    Args:
        directory: the checkpoint.
        config: its configuration.
        name: the model's name in the registry.

    Returns:
        The model, without data.

    Raises:
        OutctlError: a tensor is missing, unexpected, or of another shape, or two tensors that are one differ.
    """
    stored = stored_tensors(directory)
    if unknown := sorted({tensor.dtype for tensor in stored.values()} - DTYPES.keys()):
        raise OutctlError(f"model {name}: its tensors have the type {unknown[0]}, which this program does not know")
    empty = {key: torch.empty(entry.shape, dtype=DTYPES[entry.dtype], device="meta") for key, entry in stored.items()}
    try:
        with torch.device("meta"):
            skeleton = auto_class(config).from_config(config, trust_remote_code=False)
    # Parts that see and hear may need packages of their own.
    except (OutctlError, ImportError) as error:
        raise OutctlError(f"model {name}: {first_line(error)}") from None
    if not skeleton.can_generate():
        raise OutctlError(
            f"model {name}: models of type {config.model_type!r} do not generate text; choose a causal language model"
        )
    try:
        with quietly():
            model, found = type(skeleton).from_pretrained(
                None,
                config=skeleton.config,
                state_dict=empty,
                dtype=torch.bfloat16,
                device_map={"": "meta"},
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    # What goes through libraries of quantised weights, or does not fit together when it is merged, fails in any way.
    except Exception as error:
        quantised = getattr(config, "quantization_config", None) or {}
        if quantised and quantised.get("quant_method") not in WITHOUT_DATA:
            # Its library needs the data; the same differences are refused when the model is loaded.
            return skeleton
        odd = _odd_ones(stored)
        reason = f"{_listed(odd)} differ in shape from tensors of the same kind" if odd else first_line(error)
        raise OutctlError(f"model {name}: its checkpoint cannot be loaded as its config.json says: {reason}") from None
    refuse_differences(found, f"model {name}: its checkpoint")
    for target, source in getattr(model, "all_tied_weights_keys", {}).items():
        if target in stored and source in stored and not _equal(stored[target], target, stored[source], source):
            raise OutctlError(
                f"model {name}: its config.json ties {target} to {source}, and the checkpoint holds other values for each; "
                "set tie_word_embeddings to false there if both are meant, or take the wrong one out"
            )
    return model


def _odd_ones(stored: Mapping[str, Stored]) -> list[str]:
    """Names of tensors whose shape is not that of most others which differ from them in a number alone, such as an expert's."""
    kinds: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for name, entry in stored.items():
        kinds.setdefault(re.sub(r"\d+", "*", name), {}).setdefault(entry.shape, []).append(name)
    return [name for shapes in kinds.values() for names in sorted(shapes.values(), key=len)[:-1] for name in names]


def refuse_differences(found: Mapping[str, Any], what: str) -> None:
    """Refuse what loading found to differ between a checkpoint and its architecture.

    Args:
        found: what transformers' `from_pretrained` gives as its loading info.
        what: the checkpoint, for the message.

    Raises:
        OutctlError: there is a difference.
    """
    shapes = [f"{key} (is {tuple(is_)}, should be {tuple(should)})" for key, is_, should in found["mismatched_keys"]]
    lists = {
        "lacks": sorted(found["missing_keys"]),
        "has shapes that config.json does not give:": sorted(shapes),
        "has tensors that its architecture does not know:": sorted(found["unexpected_keys"]),
        "cannot be loaded:": list(found.get("error_msgs", [])),
    }
    said = [f"{verb} {_listed(names)}" for verb, names in lists.items() if names]
    if said:
        raise OutctlError(f"{what} {', and '.join(said)}; take a complete checkpoint that fits its config.json")


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(islice(names, SHOWN)) + (f" and {more} more" if more > 0 else "")


def _equal(one: Stored, one_name: str, other: Stored, other_name: str) -> bool:
    """Whether two tensors hold the same, read a few rows at a time."""
    if (one.dtype, one.shape) != (other.dtype, other.shape) or not one.shape:
        return False
    with safe_open(one.file, "pt") as first, safe_open(other.file, "pt") as second:
        left, right = first.get_slice(one_name), second.get_slice(other_name)
        return all(
            torch.equal(left[start : start + ROWS], right[start : start + ROWS])
            for start in range(0, one.shape[0], ROWS)
        )
