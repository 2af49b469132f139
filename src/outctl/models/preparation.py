"""Prepare a model: one directory with safetensors weights, tokenizer and chat template."""

import shutil
from pathlib import Path

from outctl.config.models import Source
from outctl.errors import OutctlError, first_line
from outctl.models.sources import opened, weights_hash
from outctl.storage.files import sha256_of

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
PROBE = "Ask for two words: 70 % ark, 30 % atom.\nThe answer is"
"""Text that a tokenizer must give back as it was; one that loses its spaces would measure another question."""


def prepare(source: Source, name: str, target: Path) -> str:
    """Fetch a model and write its files into a directory.

    Args:
        source: where it comes from.
        name: its name in the registry.
        target: the directory.

    Returns:
        The hash of its weights.

    Raises:
        OutctlError: the model is out of reach, pickled, incomplete, or its tokenizer does not keep text as it is.
    """
    with opened(source, name) as original:
        if original.is_file():
            _convert_gguf(original, target)
        else:
            _copy_layout(original, target, name)
    _check(target, name)
    return weights_hash({file.name: sha256_of(file) for file in sorted(target.iterdir()) if file.is_file()})


def _convert_gguf(file: Path, target: Path) -> None:
    """Unpack a GGUF file's weights and write them, with its tokenizer, in the layout of the hub.

    The weights are written in bfloat16: a quantised file holds at most 8 bits of each, and its scales keep their size.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
    )
    model.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(target)


def _copy_layout(original: Path, target: Path, name: str) -> None:
    weights = list(original.glob("*.safetensors"))
    if not weights:
        pickled = [file.name for pattern in PICKLED for file in original.glob(pattern)]
        found = (
            f"only pickled weights ({pickled[0]}), which can run code when they are read"
            if pickled
            else "no safetensors weights"
        )
        raise OutctlError(f"model {name}: {original} holds {found}; give a revision or directory with safetensors")
    for file in sorted(original.iterdir()):
        # A directory that this very step prepared has a provenance, which is not this one's.
        if file.name == "provenance.json":
            continue
        if file.is_file() and file.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"):
            shutil.copyfile(file, target / file.name)


def _check(directory: Path, name: str) -> None:
    """Open what was written, the way later steps do."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise OutctlError(
            f"model {name}: its configuration or tokenizer cannot be loaded: {first_line(error)}"
        ) from None
    if getattr(config, "auto_map", None) and not config.architectures:
        raise OutctlError(f"model {name}: needs code of its own repository, which is never run; choose another model")
    # Decoders of SentencePiece begin with a space of their own, which says nothing about the inside of the text.
    ids = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() != PROBE:
        raise OutctlError(
            f"model {name}: its tokenizer does not give a text back as it was; "
            "this version of transformers reads it wrongly, choose another revision or model"
        )
