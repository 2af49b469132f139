"""The layers that an adapter's recipe adapts, found in the model itself, whatever its family.

Only the language layers count: the vision and audio towers of a model of several modalities are left alone. Linear layers
are of `torch.nn.Linear` or, in GPT-2's family, `Conv1D`. The experts of a mixture often lie in one parameter of three
dimensions, which PEFT adapts as a parameter (`target_parameters`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError

TIME_STEPS = "dt_proj"
"""Linear layers of recurrent mixers whose weights fast kernels read directly, past any adapter."""
FUSED_OUTPUTS = {
    "falcon_h1": "mamba",
    "falcon_mamba": "mixer",
    "mamba": "mixer",
    "mamba2": "mixer",
    "nemotron_h": "mixer",
}
"""Model types whose recurrent mixers, under this name, have an `out_proj` that PEFT refuses to adapt for the same reason."""
UNFUSED = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""Names that PEFT takes for those of experts before they were fused, in models whose experts are."""


@dataclass(frozen=True)
class Targets:
    """What is adapted, by full names.

    Attributes:
        modules: linear layers.
        parameters: fused experts.
        transposed: whether all of the linear layers keep their weights transposed, as `Conv1D` does.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    transposed: bool

    def described(self) -> dict[str, dict[str, int]]:
        """The names with `*` for numbers, each with how many there are."""
        return {"modules": _patterns(self.modules), "parameters": _patterns(self.parameters)}


def _patterns(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names).items()))


@dataclass(frozen=True)
class _Known:
    """What can be adapted in a model.

    Attributes:
        modules: linear layers by their full names.
        parameters: full names of fused experts.
        layers: full name of the list of decoder layers.
        depth: their number.
    """

    modules: dict[str, torch.nn.Module]
    parameters: list[str]
    layers: str
    depth: int

    def layer_of(self, name: str) -> int | None:
        """The decoder layer that a module lies in; None for one outside all layers."""
        found = re.match(rf"{re.escape(self.layers)}\.(\d+)\.", name)
        return int(found[1]) if found else None


def _known(model: Any) -> _Known:
    """What can be adapted in the language layers of a model."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    inside = {".".join(filter(None, (prefix, name))): module for name, module in decoder.named_modules()}
    # Some models have no decoder of their own, so that their towers lie inside; in some, experts of pictures do.
    towers = tuple(f"{name}." for name, module in inside.items() if _sees(name, module, model.config))
    inside = {name: module for name, module in inside.items() if not name.startswith(towers)}
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    stacks = {name: len(module) for name, module in inside.items() if isinstance(module, torch.nn.ModuleList)}
    # The outermost list of as many as the configuration says; the longest, where it says nothing of the decoder.
    layers = min(stacks, key=lambda name: (stacks[name] != depth, -stacks[name], name.count(".")), default="")
    linear = {
        name: module
        for name, module in inside.items()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head and not _routes(module)
    }
    experts = [
        f"{name}.{parameter}"
        for name, module in inside.items()
        for parameter, value in module.named_parameters(recurse=False)
        if value.ndim == 3
        and value.is_floating_point()
        and min(value.shape) > 1
        and not isinstance(module, torch.nn.modules.conv._ConvNd)
    ]
    return _Known(linear, experts, layers, stacks.get(layers, 0))


def _sees(name: str, module: torch.nn.Module, config: Any) -> bool:
    """Whether a module is of another modality than text, such as a vision tower, in the model with this configuration."""
    language = (type(config), type(config.get_text_config()))
    tower = isinstance(module, PreTrainedModel) and not isinstance(module.config, language)
    return tower or name.rpartition(".")[2].startswith(("vision", "visual"))


def _routes(module: torch.nn.Module) -> bool:
    """Whether a linear layer chooses experts, and gives more than the product that an adapter adds to."""
    return "router" in type(module).__name__.lower()


def _ends(name: str, targets: Sequence[str]) -> bool:
    """Whether a name is one of these, or ends in one."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def find_targets(model: Any, recipe: AdapterRecipe) -> Targets:
    """What a recipe adapts in a model.

    Raises:
        OutctlError: the model lacks a layer or module that the recipe names, or has nothing that can be adapted.
    """
    known = _known(model)
    if beyond := [layer for layer in recipe.layers or [] if not 0 <= layer < known.depth]:
        raise OutctlError(f"layers: {beyond[0]} is not among the model's layers 0 to {known.depth - 1}")
    modules, parameters = list(known.modules), known.parameters
    if recipe.target_modules == "all-linear":
        left_out = UNFUSED if parameters and _unfuses(model) else ()
        modules = [name for name in modules if not _unadaptable(name, model.config.model_type, left_out)]
    else:
        for target in recipe.target_modules:
            if not any(_ends(name, [target]) for name in (*modules, *parameters)):
                valid = ", ".join(sorted({name.rpartition(".")[2] for name in (*modules, *parameters)}))
                raise OutctlError(f"target_modules: the model has no {target!r}; its linear layers are {valid}")
        modules = [name for name in modules if _ends(name, recipe.target_modules)]
        parameters = [name for name in parameters if _ends(name, recipe.target_modules)]
    if recipe.layers is not None:
        modules = [name for name in modules if known.layer_of(name) in recipe.layers]
        parameters = [name for name in parameters if known.layer_of(name) in recipe.layers]
    if not modules and not parameters:
        raise OutctlError(
            f"models of type {model.config.model_type!r} have no linear layer in these places; name others in "
            "target_modules or layers"
        )
    if parameters and recipe.dropout:
        raise OutctlError(
            "dropout: PEFT has none for fused experts; set it to 0, or list target_modules without "
            f"{', '.join(sorted({name.rpartition('.')[2] for name in parameters}))}"
        )
    transposed = bool(modules) and all(isinstance(known.modules[name], Conv1D) for name in modules)
    return Targets(tuple(modules), tuple(parameters), transposed)


def _unadaptable(name: str, kind: str, left_out: Sequence[str]) -> bool:
    """Whether a linear layer is left out unless a recipe names it, since PEFT cannot adapt it in a model of this type."""
    *_, parent, own = ("", *name.split("."))
    return own == TIME_STEPS or own in left_out or (own == "out_proj" and parent == FUSED_OUTPUTS.get(kind))


def _unfuses(model: Any) -> bool:
    """Whether PEFT rewrites the names of unfused experts for this type of model."""
    trial = LoraConfig(target_modules=list(UNFUSED))
    convert_peft_config_for_transformers(trial, model, None)
    return bool(trial.target_parameters)


def peft_options(model: Any, targets: Targets, layers: list[int] | None) -> dict[str, Any]:
    """The options of PEFT's configuration that select just these targets.

    The ends of the names where they tell the targets from all other modules, else a pattern of whole names.
    """
    chosen = set(targets.modules)
    ends = sorted({name.rpartition(".")[2] for name in chosen})
    options: dict[str, Any] = {
        "target_modules": ends,
        "layers_to_transform": layers,
        "fan_in_fan_out": targets.transposed and not targets.parameters,
    }
    if targets.parameters:
        names = {re.sub(r"^.*\.\d+\.", "", name) for name in targets.parameters}
        options["target_parameters"] = sorted(names if layers is None else targets.parameters)
    trial = LoraConfig(**{key: options[key] for key in ("target_modules", "layers_to_transform")})
    matched = {name for name, _ in model.named_modules() if name and check_target_module_exists(trial, name)}
    if matched != chosen:
        options |= {"target_modules": _pattern_of(targets.modules), "layers_to_transform": None}
    return options


def _pattern_of(names: Sequence[str]) -> str:
    """A regular expression that fits just these names; those that differ in their numbers alone share an alternative."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for name in names:
        numbers = tuple(re.findall(r"(?<=\.)\d+(?=\.|$)", name))
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name), []).append(numbers)
    alternatives = []
    for form, found in groups.items():
        if len(found[0]) == 1:
            numbered = "|".join(number for (number,) in found)
            alternatives.append(re.escape(form).replace(r"\*", f"(?:{numbered})"))
        else:
            alternatives += [re.escape(_filled(form, numbers)) for numbers in found]
    return "|".join(alternatives)


def _filled(form: str, numbers: Iterable[str]) -> str:
    for number in numbers:
        form = form.replace("*", number, 1)
    return form
