"""Load a prepared model, with or without an adapter, in the type that suits the processor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from outctl.config.models import AS_IT_COMES, FLOAT32_PARAMETERS, Precision, PromptOptions
from outctl.errors import OutctlError, first_line, of_the_machine
from outctl.models.adapter_base import base_of, check_base
from outctl.models.auto_class import auto_class
from outctl.models.checkpoint import count_parameters
from outctl.models.quantised import check_precision, described, quantisation_of
from outctl.models.snapshots import is_whole, keep, snapshot_of
from outctl.models.tensors import refuse_differences
from outctl.storage.files import read_json
from outctl.storage.outputs import check_sizes, read_provenance


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be asked.

    Attributes:
        model: the model, causal or image-text; wrapped by PEFT when an adapter was loaded.
        tokenizer: its tokenizer.
        chat: whether it is asked through its chat template.
        weights_hash: hash of its base weights.
        description: device and types, for provenance.
        options: how it is asked, beside its chat template.
        separable: whether disabling its adapter gives the base model back.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    chat: bool
    weights_hash: str
    description: dict[str, str]
    options: PromptOptions = AS_IT_COMES
    separable: bool = True

    def check_separable(self, what: str) -> None:
        """Make sure that its base can be asked too, by disabling the adapter.

        Args:
            what: what needs it, for the message.

        Raises:
            OutctlError: the adapter replaces weights of the base, such as those of a vocabulary that it resizes.
        """
        if not self.separable:
            raise OutctlError(
                f"{what} compares a model with its base, and this adapter replaces weights of the base, such as those of a "
                f"vocabulary that it resizes; leave {what} or the adapter out"
            )


def compute_dtype() -> torch.dtype:
    """bfloat16 where this machine's processor computes in it, float32 elsewhere."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def dtype_of(directory: Path, precision: Precision, quantised: bool, training: bool) -> torch.dtype:
    """The type that a prepared model computes in.

    Args:
        directory: the prepared model.
        precision: as the registry has it.
        quantised: whether the weights are quantised in their files.
        training: whether an adapter is trained.
    """
    if precision not in ("auto", "nf4"):
        named: torch.dtype = getattr(torch, precision)
        return named
    plain = precision == "auto" and not quantised and not training
    return torch.float32 if plain and count_parameters(directory) <= FLOAT32_PARAMETERS else compute_dtype()


def _load(directory: Path, dtype: torch.dtype, quantisation: BitsAndBytesConfig | None = None) -> PreTrainedModel:
    # Not as None, which would stand in the way of the one that a snapshot brings.
    quantised = {} if quantisation is None else {"quantization_config": quantisation}
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        model: PreTrainedModel
        model, found = auto_class(config).from_pretrained(
            directory,
            **quantised,
            dtype=dtype,
            device_map="auto",
            max_memory=_one_gpu(),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise OutctlError(
            of_the_machine(error) or f"{directory}: the model cannot be loaded: {first_line(error)}"
        ) from None
    refuse_differences(found, f"{directory}: its checkpoint")
    return model


def _load_quantised(directory: Path, weights_hash: str, dtype: torch.dtype) -> PreTrainedModel:
    """The model in NF4 with double quantisation: its snapshot, or quantised here, which makes one."""
    snapshot = snapshot_of(directory, weights_hash, dtype)
    if is_whole(snapshot):
        return _load(snapshot, dtype)
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = _load(directory, dtype, quantisation)
    keep(model, snapshot)
    return model


def _one_gpu() -> dict[int | str, int] | None:
    """Memory for `device_map`: the first GPU alone, where several are visible, since a job computes on one."""
    if torch.cuda.device_count() < 2:
        return None
    return {0: torch.cuda.mem_get_info(0)[0]}


def load_model(
    directory: Path,
    precision: Precision,
    chat: bool,
    adapter: Path | None = None,
    options: PromptOptions = AS_IT_COMES,
    force: bool = False,
    training: bool = False,
) -> LoadedModel:
    """Load a prepared model for evaluation, or as the frozen base of a training.

    Args:
        directory: the prepared model.
        precision: type of the weights; `nf4` quantises them when they are first loaded, on CPU and GPU. Weights that are
            quantised in their files stay as they are.
        chat: whether the model is asked through its chat template.
        adapter: directory of an adapter to put on top.
        options: how the model is asked, beside its chat template.
        force: take an adapter that names another base model, too.
        training: whether an adapter is trained on it, for which `auto` is another type.

    Raises:
        OutctlError: the directory is no prepared model, its weights are quantised otherwise, or the adapter belongs to
            another model, does not fit this one, or changes nothing.
    """
    if not (directory / "provenance.json").is_file():
        raise OutctlError(f"{directory}: not a prepared model; run `outctl fetch-model` for it first")
    weights_hash = str(check_sizes(directory / "provenance.json")["weights_hash"])
    if adapter is not None:
        check_adapter(adapter, directory, force)
    quantisation = quantisation_of(directory)
    check_precision(quantisation, precision, str(directory))
    dtype = dtype_of(directory, precision, quantisation is not None, training)
    quantise = precision == "nf4" and quantisation is None
    model = _load_quantised(directory, weights_hash, dtype) if quantise else _load(directory, dtype)
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    model.eval()
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    loaded: Any = model
    separable = True
    if adapter is not None:
        from outctl.models.adapters import attach

        loaded, tokenizer, separable = attach(model, tokenizer, adapter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    computed = str(dtype).removeprefix("torch.")
    stored = "nf4" if precision == "nf4" else computed
    description = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": stored if quantisation is None else described(quantisation, model, computed),
        "compute_dtype": computed,
    }
    return LoadedModel(loaded, tokenizer, chat, weights_hash, description, options, separable)


def keep_differentiable(model: Any) -> None:
    """Prepare a model for training behind its frozen weights; call it before the first forward pass.

    On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at their first forward pass in evaluation mode, for a
    kernel that has no backward pass: gradients would silently stop at every such layer from then on.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_adapter(adapter: Path, directory: Path, force: bool = False) -> None:
    """Refuse an adapter that is cut off, or made for another model than this one.

    Args:
        adapter: directory of the adapter.
        directory: the prepared model.
        force: accept one that was made for another model.

    Raises:
        OutctlError: the directory holds no adapter, or one for another model.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise OutctlError(f"{adapter}: no adapter there (adapter_config.json is missing)")
    own = adapter / "provenance.json"
    # Other programs may write a file of that name, too.
    if own.is_file() and "spec_hash" in read_json(own):
        check_sizes(own)
    check_base(adapter, base_of(read_provenance(directory / "provenance.json"), directory), force)
