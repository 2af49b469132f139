"""GGUF files: their header, their shards, and their conversion to the layout of the hub.

A GGUF file is a header (magic, version, numbers of tensors and of metadata entries), the metadata, a table of tensors, and
their data from the next multiple of the alignment on. Offsets in the table count from there.
"""

import mmap
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from outctl.errors import OutctlError, first_line

GGUF = ".gguf"
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
VERSIONS = (2, 3)
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""Formats of the types of metadata that have a fixed size."""
STRING = 8
ARRAY = 9
FLOATS = {0: "float32", 1: "float16", 30: "bfloat16"}
"""Types of tensors that are not quantised."""
SHORT = 64
"""Elements of an array up to which it is kept; vocabularies are passed over."""


@dataclass(frozen=True)
class Tensor:
    """An entry of the table of tensors.

    Attributes:
        shape: fastest-moving dimension first.
        type: its type's number in GGML.
        offset: where its data begins, counted from the start of all data.
    """

    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What stands in front of a file's data.

    Attributes:
        metadata: its entries; long arrays are left out.
        entries: the same as bytes, by name.
        tensors: the table of tensors, by name.
        data_start: where the data begins.
    """

    metadata: dict[str, Any]
    entries: dict[str, bytes]
    tensors: dict[str, Tensor]
    data_start: int

    @property
    def parameters(self) -> int:
        """Number of parameters: elements of all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def float_type(self) -> str:
        """Type to unpack the weights to: the file's own where it is not quantised, else bfloat16.

        A quantised file holds at most 8 bits of each weight, and its scales keep their size.
        """
        found = {tensor.type for tensor in self.tensors.values()}
        if not found <= FLOATS.keys():
            return "bfloat16"
        # Norms stay in float32 beside weights of half the size.
        return FLOATS[max(found, default=0)] if len(found - {0}) < 2 else "float32"


class _Reader:
    """Reads values one after the other."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.position = 0

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.content, self.position)
        self.position += struct.calcsize(form)
        return value

    def string(self) -> str:
        length = self.number("<Q")
        text = self.content[self.position : self.position + length].decode("utf-8")
        self.position += length
        return text

    def value(self, kind: int) -> Any:
        """A value of the metadata; None for an array that is too long to be kept."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise ValueError(f"metadata of the unknown type {kind}")
        kind, count = self.number("<I"), self.number("<Q")
        if count <= SHORT:
            return [self.value(kind) for _ in range(count)]
        if kind in NUMBERS:
            self.position += count * struct.calcsize(NUMBERS[kind])
        elif kind == STRING:
            for _ in range(count):
                self.position += 8 + struct.unpack_from("<Q", self.content, self.position)[0]
        else:
            raise ValueError(f"a long array of the type {kind}")
        return None


def header_of(path: Path) -> Header:
    """Read a file's header.

    Raises:
        OutctlError: it is no GGUF file, or it was cut off.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read_header(content)
    except (OSError, ValueError, struct.error) as error:
        raise OutctlError(f"{path}: not a whole GGUF file ({first_line(error)}); fetch the file again") from None


def _read_header(content: mmap.mmap) -> Header:
    if content[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    reader = _Reader(content)
    reader.position = 4
    version = reader.number("<I")
    if version not in VERSIONS:
        raise ValueError(f"version {version} of the format; this program reads {' and '.join(map(str, VERSIONS))}")
    tensor_count, entry_count = reader.number("<Q"), reader.number("<Q")
    metadata, entries, tensors = {}, {}, {}
    for _ in range(entry_count):
        start = reader.position
        name = reader.string()
        value = reader.value(reader.number("<I"))
        if value is not None:
            metadata[name] = value
        entries[name] = content[start : reader.position]
    for _ in range(tensor_count):
        name = reader.string()
        shape = tuple(reader.number("<Q") for _ in range(reader.number("<I")))
        tensors[name] = Tensor(shape, reader.number("<I"), reader.number("<Q"))
    return Header(metadata, entries, tensors, _aligned(reader.position, metadata))


def _aligned(position: int, metadata: dict[str, Any]) -> int:
    """The next position at which data may begin."""
    return position + -position % int(metadata.get("general.alignment", 32))


def shards_of(path: Path) -> list[Path]:
    """The files of a model, in order: those of all shards where the name is that of one, else the file alone."""
    found = SHARD.search(path.name)
    if not found:
        return [path]
    stem, count = path.name[: found.start()], int(found[2])
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}{GGUF}") for number in range(1, count + 1)]


def join_shards(shards: Sequence[Path], target: Path) -> Path:
    """Write the shards of a model as one file, and give it.

    Raises:
        OutctlError: a shard cannot be read, or has a tensor of another one.
    """
    headers = [header_of(shard) for shard in shards]
    first = headers[0]
    entries = [entry for name, entry in first.entries.items() if not name.startswith("split.")]
    tensors: dict[str, Tensor] = {}
    length = 0
    for shard, header in zip(shards, headers, strict=True):
        for name, tensor in header.tensors.items():
            if name in tensors:
                raise OutctlError(f"{shard}: holds {name}, which an earlier shard holds too; fetch the files again")
            tensors[name] = Tensor(tensor.shape, tensor.type, tensor.offset + length)
        length = _aligned(length + shard.stat().st_size - header.data_start, first.metadata)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries)
    for name, tensor in tensors.items():
        encoded = name.encode()
        head += struct.pack("<Q", len(encoded)) + encoded + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.type, tensor.offset)
    with target.open("wb") as joined:
        joined.write(head)
        for shard, header in zip(shards, headers, strict=True):
            joined.write(bytes(_aligned(joined.tell(), first.metadata) - joined.tell()))
            with shard.open("rb") as data:
                data.seek(header.data_start)
                while block := data.read(1 << 24):
                    joined.write(block)
    return target


HARMLESS = ("vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count")
"""Metadata that the shapes of the tensors tell too."""
SCALED_ROPE = ("rope_freqs", "rope_factors")
"""Tensors with the factors of scaled rotary positions."""


def check_understood(header: Header, config: Any, name: str) -> None:
    """Refuse a file with settings that transformers does not take over: it would compute something else without a word.

    Args:
        header: the file's header.
        config: what transformers made of it.
        name: the model's name in the registry.

    Raises:
        OutctlError: there are such settings.
    """
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    architecture = str(header.metadata["general.architecture"])
    ignored = [tensor for tensor in header.tensors if tensor.startswith(SCALED_ROPE)]
    taken = GGUF_CONFIG_MAPPING.get(config.model_type.removesuffix("_text"), {})
    # The newer of transformers' two readers has tables of its own.
    for key, value in ({} if is_gguf_arch_supported(architecture) else header.metadata).items():
        part = key.removeprefix(f"{architecture}.")
        if part == key or part in taken or part in HARMLESS or getattr(config, part.split(".")[-1], None) == value:
            continue
        unscaled = header.metadata.get(f"{architecture}.rope.scaling.type") == "none" or architecture == "gpt-oss"
        if not (part.startswith("rope.scaling.") and unscaled):
            ignored.append(f"{key} = {value}")
    if ignored:
        raise OutctlError(
            f"model {name}: this version of transformers ignores {', '.join(ignored)} of the GGUF file and would compute "
            "something else; use the model's safetensors instead"
        )


def convert(file: Path, target: Path, name: str) -> None:
    """Write a GGUF file's weights and tokenizer in the layout of the hub.

    Raises:
        OutctlError: transformers cannot read the file, or not all of it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from outctl.models.quiet import quietly
    from outctl.models.tensors import refuse_differences

    header = header_of(file)
    try:
        with quietly():
            model, found = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=getattr(torch, header.float_type),
                quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        check_understood(header, model.config, name)
        refuse_differences(found, f"model {name}: {file.name}")
        held = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict().values()}
        if sum(held.values()) != header.parameters:
            raise OutctlError(
                f"model {name}: {file.name} holds {header.parameters} numbers, and this version of transformers takes "
                f"{sum(held.values())} of them; use the model's safetensors instead"
            )
        model.save_pretrained(target)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        if begins != header.metadata.get("tokenizer.ggml.add_bos_token", begins):
            raise OutctlError(
                f"model {name}: {file.name} says whether texts begin with a BOS token, and this version of transformers does "
                "the opposite; use the model's safetensors instead"
            )
        tokenizer.save_pretrained(target)
    except OutctlError:
        raise
    # Its reader fails in many ways: unknown architectures, types and tokenizers, files that were cut off.
    except Exception as error:
        raise OutctlError(
            f"model {name}: transformers cannot convert {file.name}: {type(error).__name__}: {first_line(error)}"
        ) from None
