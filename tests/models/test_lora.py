"""LoRA layers that compute in the type of their input, against PEFT's own ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from outctl.models.lora import compute_in_input_type

IDS = torch.tensor([[5, 9, 3, 7, 7, 2, 41]])


def adapted(directory: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """A tiny model with an adapter whose products are not zero."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False, **options
    )
    return peft.get_peft_model(base, config)


def logits_and_gradients(model: Any, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(seed)
    logits = model(input_ids=IDS).logits.float()
    logits.log_softmax(-1)[0, :, 11].sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return logits.detach(), found


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.3}, {"use_rslora": True}, {"use_dora": True}], ids=str)
def test_logits_and_gradients_are_those_of_peft(
    architecture: str, options: dict[str, Any], tiny_model_dir: Callable[..., Path]
) -> None:
    model = adapted(tiny_model_dir(architecture), **options).train()
    expected, expected_gradients = logits_and_gradients(model)
    compute_in_input_type(model)
    found, gradients = logits_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    assert {name.split(".")[-3] for name in gradients} >= {"lora_A", "lora_B"}
    for name, gradient in gradients.items():
        # Sums in another order round by what their largest terms are.
        largest = float(expected_gradients[name].abs().max())
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5 * max(1.0, largest), rtol=1e-4)


def test_master_weights_and_their_gradients_stay_in_float32(tiny_model_dir: Callable[..., Path]) -> None:
    whole, expected = logits_and_gradients(adapted(tiny_model_dir()).train())
    model = adapted(tiny_model_dir(), torch.bfloat16).train()
    compute_in_input_type(model)
    seen: set[torch.dtype] = set()
    for layer in model.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.register_forward_hook(lambda *call: seen.add(call[2].dtype))
    logits, gradients = logits_and_gradients(model)
    assert seen == {torch.bfloat16}
    assert (logits - whole).norm() < 0.04 * whole.norm()
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.99


def test_an_adapter_that_is_switched_off_or_merged_adds_nothing(tiny_model_dir: Callable[..., Path]) -> None:
    model = adapted(tiny_model_dir()).eval()
    compute_in_input_type(model)
    with torch.no_grad():
        on = model(input_ids=IDS).logits
        with model.disable_adapter():
            off = model(input_ids=IDS).logits
        model.merge_adapter()
        merged = model(input_ids=IDS).logits
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(off, base(input_ids=IDS).logits)
    torch.testing.assert_close(merged, on, atol=1e-4, rtol=1e-4)
    assert (on - off).abs().max() > 0.1


def test_two_adapters_at_once_are_added_up(tiny_model_dir: Callable[..., Path]) -> None:
    model = adapted(tiny_model_dir()).eval()
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "other"])
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        compute_in_input_type(model)
        torch.testing.assert_close(model(input_ids=IDS).logits, expected, atol=1e-5, rtol=1e-5)
