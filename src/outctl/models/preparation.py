"""Prepare a model: one directory with safetensors weights, tokenizer and chat template, checked before anything computes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from outctl.config.source import ModelSource
from outctl.errors import OutctlError, first_line
from outctl.models.checkpoint import ADAPTER, count_parameters, files_of
from outctl.models.gguf import convert
from outctl.storage.files import read_json, sha256_of, write_json, write_text
from outctl.storage.links import link_file

NAMED_TEMPLATES = "additional_chat_templates"
"""Folder of the chat templates that have names."""
PROCESSOR_TEMPLATE = "chat_template.json"
"""The chat template of an image-text model's processor, in older checkpoints."""


@dataclass(frozen=True)
class Prepared:
    """What is known of a prepared model.

    Attributes:
        weights_hash: hash of its weights.
        parameters: number of its parameters.
        quantisation: how its weights are quantised in their files; None where they are not.
    """

    weights_hash: str
    parameters: int
    quantisation: str | None


def prepare(source: ModelSource, name: str, target: Path) -> Prepared:
    """Obtain a model and put its files into a directory: links to those that are used as they are, and what is converted.

    Args:
        source: where it comes from.
        name: its name in the registry.
        target: the directory.

    Raises:
        OutctlError: the model is out of reach, pickled, incomplete, needs a package that is not installed, has an adapter
            beside it, or its tokenizer does not fit.
    """
    from outctl.models.quantised import check_library, check_scales, quantisation_of

    with source.opened(name) as original:
        if original.is_file():
            convert(original, target, name)
        else:
            _link_layout(original, target, name)
        try:
            check_library(target, name)
            check_scales(target, name)
            _check(target, name)
        except OutctlError as error:
            # The directory that is being written is gone when the message is read.
            raise OutctlError(str(error).replace(str(target), str(original))) from None
    weights = {file.name: sha256_of(file) for file in sorted(target.glob("*.safetensors"))}
    return Prepared(weights_hash(weights), count_parameters(target), quantisation_of(target))


def _link_layout(original: Path, target: Path, name: str) -> None:
    try:
        files = files_of(original)
    except OutctlError as error:
        raise OutctlError(f"model {name}: {error}") from None
    if (original / ADAPTER).is_file():
        # transformers would put it on top of the model without a word.
        raise OutctlError(
            f"model {name}: {original} holds an adapter beside the model ({ADAPTER}), so that the baseline would not be the "
            "model alone; move adapter_config.json and adapter_model.safetensors into a directory of their own"
        )
    for file in files:
        link_file(file, target / file.name)
    _gather_templates(original, target)


def _gather_templates(original: Path, target: Path) -> None:
    """Put chat templates where the tokenizer finds them: those of a processor, and named ones from their folder."""
    config, default = target / "tokenizer_config.json", target / "chat_template.jinja"
    known = read_json(config) if config.is_file() else {}
    named = {
        file.stem: file.read_text(encoding="utf-8") for file in sorted(original.glob(f"{NAMED_TEMPLATES}/*.jinja"))
    }
    if named:
        if default.is_file():
            named = {"default": default.read_text(encoding="utf-8"), **named}
            default.unlink()
        # Not through the link, which would change the original.
        config.unlink(missing_ok=True)
        listed = [{"name": name, "template": text} for name, text in named.items()]
        write_json(config, known | {"chat_template": listed})
    elif not default.is_file() and not known.get("chat_template") and (original / PROCESSOR_TEMPLATE).is_file():
        content = read_json(original / PROCESSOR_TEMPLATE)
        if isinstance(content, dict) and isinstance(content.get("chat_template"), str):
            write_text(default, content["chat_template"])


def _check(directory: Path, name: str) -> None:
    """Open what was prepared, the way later steps do."""
    from transformers import AutoConfig

    from outctl.models.tensors import check_tensors
    from outctl.models.tokenizer import check_tokenizer

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    # Configurations check themselves in many ways.
    except Exception as error:
        raise OutctlError(f"model {name}: its configuration cannot be loaded: {first_line(error)}") from None
    if getattr(config, "auto_map", None) and not config.architectures:
        raise OutctlError(f"model {name}: needs code of its own repository, which is never run; choose another model")
    model = check_tensors(directory, config, name)
    check_tokenizer(directory, model.get_input_embeddings().weight.shape[0], name)


def weights_hash(checksums: dict[str, str]) -> str:
    """One hash of a model's weights, from the checksums of its safetensors files by name."""
    lines = [f"{name} {checksum}\n" for name, checksum in sorted(checksums.items()) if name.endswith(".safetensors")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
