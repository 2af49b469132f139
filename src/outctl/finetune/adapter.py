"""A fresh LoRA adapter on a model, as a recipe says."""

import warnings
from typing import Any

from peft import LoraConfig, get_peft_model

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError, first_line
from outctl.finetune.target_modules import Targets, find_targets, peft_options
from outctl.models.lora import compute_in_input_type


def add_adapter(model: Any, recipe: AdapterRecipe) -> Any:
    """Wrap a model with a fresh LoRA adapter; the base is frozen, the adapter's weights are float32.

    Raises:
        OutctlError: the model lacks a layer or module that the recipe names, or PEFT cannot adapt it.
    """
    targets = find_targets(model, recipe)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        **peft_options(model, targets, recipe.layers),
    )
    kind = model.config.model_type
    try:
        with warnings.catch_warnings():
            # Where linear layers of both sorts are mixed, PEFT says so of each.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            adapted = get_peft_model(model, config)
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise OutctlError(
            f"PEFT cannot adapt this model of type {kind!r} ({first_line(error)}); list other target_modules"
        ) from None
    found = adapted_by(adapted)
    if (set(found.modules), set(found.parameters)) != (set(targets.modules), set(targets.parameters)):
        apart = {*found.modules, *found.parameters} ^ {*targets.modules, *targets.parameters}
        raise OutctlError(
            f"PEFT cannot adapt just these layers of a model of type {kind!r} ({min(apart)}); list other target_modules"
        )
    compute_in_input_type(adapted)
    return adapted


def adapted_by(model: Any) -> Targets:
    """What the adapter of a PEFT model really adapts."""
    tuner = model.base_model
    return Targets(tuple(tuner.targeted_module_names), tuple(tuner.targeted_parameter_names), False)
