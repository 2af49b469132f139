"""The files of a checkpoint in the layout of the hub: which of them hold the weights, and what their headers say."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from outctl.errors import OutctlError, first_line
from outctl.storage.files import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
BESIDE = (".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Suffixes of the files beside the weights that a model is loaded from: configuration, chat template, tokenizer."""
ADAPTER = "adapter_config.json"
SCALES = re.compile(
    r".*(weight_scale(_inv)?|(input|activation)_scale|weight_(zero_point|shape|format)|(nested_)?(absmax|quant_map)|SCB"
    r"|quant_state\.\w+|_scales|\.scales|qzeros|g_idx)"
)
"""Names of tensors that say how quantised weights are read, and hold none themselves."""
LONGEST_HEADER = 100_000_000
"""Bytes of a header, as safetensors limits them."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a safetensors file.

    Attributes:
        file: the file.
        dtype: its type as the file spells it: F32, BF16, U8.
        shape: its shape.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]


def weight_files(directory: Path) -> list[Path]:
    """The files that a model's weights are loaded from: one, or the shards that an index names.

    Raises:
        OutctlError: there are none, or not all of them.
    """
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if (directory / INDEX).is_file():
        found = read_json(directory / INDEX)
        shards = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
            raise OutctlError(f"{directory / INDEX}: no index of a checkpoint's shards")
        names = sorted(set(shards.values()))
        if outside := [name for name in names if Path(name).name != name]:
            raise OutctlError(f"{directory / INDEX}: names {outside[0]}, which is no file beside it")
        if missing := [name for name in names if not (directory / name).is_file()]:
            raise OutctlError(
                f"{directory}: the shard {missing[0]} is missing, which {INDEX} names; complete the checkpoint"
            )
        return [directory / name for name in names]
    raise OutctlError(f"{directory} holds {_instead(directory)}")


def _instead(directory: Path) -> str:
    """What is there in place of weights that can be loaded."""
    advice = "give a revision or directory with safetensors"
    if adapter := next(directory.glob(ADAPTER), None):
        return f"an adapter ({adapter.name}) and no model; name the model that it was trained for"
    if other := sorted(directory.glob("*.safetensors")):
        return f"{other[0].name}, but neither {SINGLE} nor {INDEX}, which names the shards; {advice}"
    if gguf := sorted(directory.glob("*.gguf")):
        return f"no safetensors weights; for the GGUF file give its own path: {gguf[0]}"
    pickled = [file.name for pattern in PICKLED for file in sorted(directory.glob(pattern))]
    if pickled:
        return f"only pickled weights ({pickled[0]}), which can run code when they are read; {advice}"
    return f"no safetensors weights; {advice}"


def files_of(directory: Path) -> list[Path]:
    """All files that a model is loaded from: its weights, configuration, chat template and tokenizer.

    Raises:
        OutctlError: its weights are not all there.
    """
    weights = weight_files(directory)
    # A directory that was prepared before has a provenance, which is not this one's; an index may stand beside one file.
    passed_over = {"provenance.json"} | ({INDEX} if weights == [directory / SINGLE] else set())
    beside = [
        file
        for file in sorted(directory.iterdir())
        if file.is_file() and file.suffix in BESIDE and file.name not in passed_over
    ]
    return [*weights, *beside]


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint, by the headers of its files.

    Raises:
        OutctlError: a file is missing, cut off, or holds a tensor of another one.
    """
    tensors: dict[str, Stored] = {}
    for file in weight_files(directory):
        for name, entry in _header(file).items():
            if name in tensors:
                raise OutctlError(f"{file}: holds {name}, which {tensors[name].file.name} holds too")
            tensors[name] = Stored(file, entry["dtype"], tuple(entry["shape"]))
    return tensors


def _header(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if not all(isinstance(entry["dtype"], str) and isinstance(entry["shape"], list) for entry in header.values()):
            raise ValueError("its header has no types and shapes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutctlError(f"{file}: not a safetensors file ({first_line(error)}); fetch the file again") from None
    if file.stat().st_size != end:
        raise OutctlError(f"{file}: has {file.stat().st_size} bytes in place of {end}; fetch the file again")
    return dict(header)


def count_parameters(directory: Path) -> int:
    """Number of parameters of a checkpoint: elements of its tensors; those of packed weights count as their bits tell.

    Raises:
        OutctlError: its weights cannot be read.
    """
    config = read_config(directory)
    packed = packed_bits(config)
    total = 0
    for name, stored in stored_tensors(directory).items():
        if config.get("quantization_config") and SCALES.fullmatch(name):
            continue
        elements = prod(stored.shape)
        bits = 32 if stored.dtype in ("I32", "U32") else 8
        total += elements * (bits // packed if packed and _is_packed(name, stored) else 1)
    return total


def _is_packed(name: str, stored: Stored) -> bool:
    """Whether a tensor holds several weights in each of its elements."""
    return stored.dtype in ("I32", "U32", "U8") and name.endswith(("qweight", "weight_packed", "_blocks", ".weight"))


def read_config(directory: Path) -> dict[str, Any]:
    """A checkpoint's configuration, `config.json`.

    Raises:
        OutctlError: it is missing or no such file.
    """
    found = read_json(directory / "config.json")
    if not isinstance(found, dict):
        raise OutctlError(f"{directory / 'config.json'}: no configuration of a model")
    return found


def packed_bits(config: Mapping[str, Any]) -> int | None:
    """Bits of a weight where several are packed into each element of a tensor; None where they are not."""
    quantisation = config.get("quantization_config")
    if not isinstance(quantisation, dict):
        return None
    match quantisation.get("quant_method"):
        case "mxfp4":
            return 4
        case "bitsandbytes":
            return 4 if quantisation.get("load_in_4bit") else None
        case "awq" | "gptq":
            return _whole(quantisation.get("bits", quantisation.get("w_bit")))
        case "compressed-tensors" if quantisation.get("format") == "pack-quantized":
            groups = quantisation.get("config_groups")
            weights = [group.get("weights") or {} for group in groups.values()] if isinstance(groups, dict) else []
            return _whole(weights[0].get("num_bits")) if weights else None
    return None


def _whole(bits: object) -> int | None:
    return bits if isinstance(bits, int) and bits in (2, 4, 8) else None
