"""A fresh LoRA adapter on a model, as a recipe says."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError
from outctl.models.lora import compute_in_input_type


def linear_names(model: Any) -> list[str]:
    """Last parts of the names of all linear layers but the output projection, quantised ones included."""
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    return sorted(names)


def add_adapter(model: Any, recipe: AdapterRecipe) -> Any:
    """Wrap a model with a fresh LoRA adapter; the base is frozen, the adapter's weights are float32.

    Raises:
        OutctlError: the model lacks a layer or module that the recipe names.
    """
    depth = model.config.num_hidden_layers
    if beyond := [layer for layer in recipe.layers or [] if not 0 <= layer < depth]:
        raise OutctlError(f"layers: {beyond[0]} is not among the model's layers 0 to {depth - 1}")
    known = linear_names(model)
    targets = known if recipe.target_modules == "all-linear" else recipe.target_modules
    if unknown := [name for name in targets if name not in known]:
        raise OutctlError(f"target_modules: the model has no {unknown[0]!r}; its linear layers are {', '.join(known)}")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(targets),
        layers_to_transform=recipe.layers,
    )
    adapted = get_peft_model(model, config)
    compute_in_input_type(adapted)
    return adapted
