"""Adapters from anywhere, put on a loaded model: either they take their full effect, or they are refused.

PEFT by itself loads what fits and says nothing of the rest. Here the tensors of the file must be just those that the adapted
model has, a vocabulary that training resized comes with its tokenizer, and an adapter must change the model's logits.
"""

import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModelForCausalLM
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from outctl.errors import OutctlError, first_line
from outctl.models.lora import compute_in_input_type
from outctl.storage.files import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
"""Files of which a tokenizer has at least one."""
NAMED = 3
"""Tensors that a message names at most."""


class Attached(NamedTuple):
    """A model with an adapter.

    Attributes:
        model: the model, wrapped by PEFT.
        tokenizer: the model's tokenizer, or the adapter's where it resizes the vocabulary.
        separable: whether the model computes as its base does once the adapter is disabled.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    separable: bool


def attach(model: Any, tokenizer: PreTrainedTokenizerBase, adapter: Path) -> Attached:
    """Put an adapter on a model.

    Args:
        model: the base model, in evaluation mode; it is changed in place.
        tokenizer: its tokenizer.
        adapter: directory of the adapter, in the layout of PEFT.

    Raises:
        OutctlError: the directory holds no adapter that can be loaded, the adapter does not fit the model, or it changes
            nothing.
    """
    config = read_adapter_config(adapter)
    shapes = _shapes(adapter)
    ids = _probe(model, config)
    before = _logits(model, ids)
    tokenizer = _resize(model, tokenizer, adapter, config, shapes)
    adapted = _load(model, config, adapter)
    compute_in_input_type(adapted)
    adapted.eval()
    after = _logits(adapted, ids)
    with adapted.disable_adapter():
        disabled = _logits(adapted, ids)
    common = min(before.shape[-1], after.shape[-1])
    if after.shape[-1] <= before.shape[-1] and torch.equal(after[:, :common], before[:, :common]):
        raise OutctlError(
            f"{adapter}: changes no logit of the model, as an adapter before its first training step; train it, or leave it out"
        )
    return Attached(adapted, tokenizer, torch.equal(before, disabled))


def read_adapter_config(adapter: Path) -> PeftConfig:
    """The configuration of an adapter.

    Raises:
        OutctlError: the directory holds no adapter, or one of a kind that cannot be used here.
    """
    file = adapter / CONFIG
    if not file.is_file():
        raise OutctlError(f"{adapter}: no adapter there ({CONFIG} is missing)")
    content = read_json(file)
    kind = content.get("peft_type") if isinstance(content, dict) else None
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise OutctlError(f"{file}: peft_type is {kind!r}, which this version of PEFT does not know")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = PEFT_TYPE_TO_CONFIG_MAPPING[kind].from_pretrained(str(adapter))
    except (TypeError, ValueError) as error:
        raise OutctlError(f"{file}: not a configuration of PEFT: {first_line(error)}") from None
    if config.is_prompt_learning or config.is_adaption_prompt or kind in ("XLORA", "POLY"):
        raise OutctlError(f"{file}: adapters of type {kind} add to the prompt or mix others; use one of LoRA's kind")
    if getattr(config, "alora_invocation_tokens", None):
        raise OutctlError(
            f"{file}: an activated LoRA (alora_invocation_tokens), which acts behind those tokens alone; use LoRA"
        )
    config.inference_mode = True
    return config


def _shapes(adapter: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter's tensors, by their names.

    Raises:
        OutctlError: there are no weights in safetensors.
    """
    file = adapter / WEIGHTS
    if not file.is_file():
        pickled = (adapter / "adapter_model.bin").is_file()
        found = "only pickled weights, which can run code when they are read" if pickled else f"{WEIGHTS} is missing"
        raise OutctlError(f"{adapter}: no weights in safetensors there ({found})")
    try:
        with safe_open(file, "pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise OutctlError(f"{file}: cannot be read: {first_line(error)}") from None


def _probe(model: Any, config: PeftConfig) -> Tensor:
    """A short row of tokens, (1, N), among them those that an adapter trains on their own."""
    size = model.get_input_embeddings().weight.shape[0]
    own = getattr(config, "trainable_token_indices", None) or ()
    tokens = [token for part in (own.values() if isinstance(own, dict) else [own]) for token in part]
    ids = [(7 * i + 5) % size for i in range(12)] + [token for token in tokens if token < size][:12]
    return torch.tensor([ids], device=model.device)


@torch.inference_mode()
def _logits(model: Any, ids: Tensor) -> Tensor:
    """Logits (N, V) at each token."""
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _vocabulary(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int | None, bool]:
    """How many tokens an adapter's file has of an embedding or output projection, and whether it has all of it.

    Args:
        name: the module's name in the model.
        shapes: of the file's tensors.
    """
    begin = f"base_model.model.{name}."
    whole = [
        shape[0] for key, shape in shapes.items() if key.startswith(begin) and re.fullmatch(_WHOLE, key[len(begin) :])
    ]
    low_rank = [
        shapes[key][axis]
        for key, axis in ((f"{begin}lora_embedding_A", 1), (f"{begin}lora_B.weight", 0))
        if key in shapes
    ]
    return next(iter(whole + low_rank), None), bool(whole)


_WHOLE = r"(?:\w+\.)*weight(?<!lora_A\.weight)(?<!lora_B\.weight)"
"""What follows a module's name in the key of its whole weight, wrapped by PEFT or not."""


def _resize(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Path,
    config: PeftConfig,
    shapes: dict[str, tuple[int, ...]],
) -> PreTrainedTokenizerBase:
    """Give a model the vocabulary that an adapter was trained with, and give the tokenizer for it.

    Raises:
        OutctlError: the adapter does not bring all that the new tokens need.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {name: module for name, module in model.named_modules() if module is embedding or module is head}
    found = {name: _vocabulary(name, shapes) for name in names}
    sizes = {size for size, _ in found.values() if size is not None}
    size = embedding.weight.shape[0]
    if sizes <= {size}:
        return tokenizer
    if len(sizes) > 1:
        raise OutctlError(
            f"{adapter}: its embeddings have {' and '.join(map(str, sorted(sizes)))} tokens, which do not go together"
        )
    (resized,) = sizes
    own = tokenizer
    if any((adapter / name).is_file() for name in TOKENIZER):
        try:
            own = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise OutctlError(f"{adapter}: its tokenizer cannot be loaded: {first_line(error)}") from None
        own.chat_template = own.chat_template or tokenizer.chat_template
    elif resized > size:
        raise OutctlError(
            f"{adapter}: its embeddings have {resized} tokens and the model's {size}; put the tokenizer that it was trained "
            "with beside it"
        )
    if len(own) > resized:
        raise OutctlError(f"{adapter}: its embeddings have {resized} tokens and the tokenizer {len(own)}")
    tied = head is None or head.weight is embedding.weight
    needed = [name for name, module in names.items() if not tied or module is embedding]
    if lacking := [name for name in needed if resized > size and not found[name][1]]:
        raise OutctlError(
            f"{adapter}: its vocabulary has {resized} tokens and the model's {size}, and it lacks {lacking[0]} for them"
        )
    with torch.random.fork_rng():
        # All rows are overwritten by the adapter's, or are the first ones of the model's.
        model.resize_token_embeddings(resized, mean_resizing=False)
    return own


def _load(model: Any, config: PeftConfig, adapter: Path) -> Any:
    """A model of PEFT with all tensors of the adapter's file, and no others.

    Raises:
        OutctlError: the two are not the same.
    """
    kind = model.config.model_type
    mapping = getattr(model, "_checkpoint_conversion_mapping", {})
    try:
        with warnings.catch_warnings():
            # What PEFT warns of is checked below.
            warnings.simplefilter("ignore")
            adapted = PeftModelForCausalLM(model, config, "default")
            result = adapted.load_adapter(str(adapter), "default", is_trainable=False, key_mapping=mapping)
    except KeyError as error:
        raise OutctlError(
            f"{adapter}: its file lacks {_in_file(str(error.args[0]))}, which its {CONFIG} asks for"
        ) from None
    except RuntimeError as error:
        apart = re.search(
            r"size mismatch for (\S+): .* with shape (.+?) from .* is (.+?)\.?$", str(error), re.MULTILINE
        )
        if apart is None:
            raise
        reason = f"{_in_file(apart[1])} is {apart[2]} in its file and {apart[3]} in the model"
        raise OutctlError(f"{adapter}: does not fit the model: {reason}; it was made for another one") from None
    except (ValueError, TypeError, AttributeError, NotImplementedError, ImportError) as error:
        raise OutctlError(f"{adapter}: PEFT cannot load it on a model of type {kind!r}: {first_line(error)}") from None
    if result.unexpected_keys:
        raise OutctlError(
            f"{adapter}: does not fit the model, which has no place for {_listed(result.unexpected_keys)}; "
            "it was made for another architecture, or its keys were renamed"
        )
    if result.missing_keys:
        raise OutctlError(f"{adapter}: does not fit the model: its file lacks {_listed(result.missing_keys)}")
    return adapted


def _in_file(key: str) -> str:
    """A tensor's name as the adapter's file has it."""
    return key.replace(".default.", ".").removesuffix(".default")


def _listed(keys: Iterable[str]) -> str:
    """The first names of tensors, and how many more there are."""
    names = sorted(map(_in_file, keys))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
