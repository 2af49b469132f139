"""The KL penalty, against plain passes of a plain PEFT model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from outctl.finetune.kl_penalty import KlPenalty
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import Prompt, build_prompts
from outctl.models.loading import load_model
from outctl.models.lora import compute_in_input_type
from outctl.tasks.neutral import neutral_prompts

TinyModelDir = Callable[..., Path]
OPTIONS: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": "all-linear", "r": 4, "lora_alpha": 2}


def adapted(directory: Path, initial: bool = False) -> tuple[Any, list[Prompt]]:
    """A model with an adapter, of random weights or a fresh one, as a training has it, and eleven neutral prompts."""
    loaded = load_model(directory, "float32", chat=True)
    choose_engine(loaded.model)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = peft.get_peft_model(loaded.model, peft.LoraConfig(**OPTIONS, init_lora_weights=initial))
    compute_in_input_type(model)
    model.train()
    return model, build_prompts(loaded.tokenizer, neutral_prompts("train")[:11], chat=True)


def plain_log_p(model: Any, prompts: list[Prompt]) -> Tensor:
    """(B, V) behind each prompt, in a pass of its own, without trees."""
    logits = [model(input_ids=torch.tensor([prompt.tokens]), use_cache=False).logits[0, -1] for prompt in prompts]
    return torch.stack(logits).log_softmax(-1)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_value_and_gradient_are_those_of_plain_passes(architecture: str, tiny_model_dir: TinyModelDir) -> None:
    model, prompts = adapted(tiny_model_dir(architecture))
    kl_penalty = KlPenalty(model, prompts, per_step=4, seed=0)
    numbers = kl_penalty.numbers(1)
    found = kl_penalty.divergences(model, numbers)
    found.mean().backward()

    untouched = AutoModelForCausalLM.from_pretrained(tiny_model_dir(architecture), dtype=torch.float32)
    with torch.no_grad():
        base = plain_log_p(untouched, [kl_penalty.prompts[number] for number in numbers])
    torch.testing.assert_close(kl_penalty.base[numbers], base, atol=1e-5, rtol=1e-5)
    plain = peft.get_peft_model(untouched, peft.LoraConfig(**OPTIONS))
    plain.load_state_dict(model.state_dict())
    log_q = plain_log_p(plain, [kl_penalty.prompts[number] for number in numbers])
    expected = torch.nn.functional.kl_div(log_q, base, reduction="none", log_target=True).sum(-1)
    assert expected.min() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    expected.mean().backward()
    gradients = {name: weight.grad for name, weight in plain.named_parameters() if weight.requires_grad}
    assert any("lora_A" in name and gradient.abs().max() > 1e-3 for name, gradient in gradients.items())
    for name, weight in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(weight.grad, gradients[name], atol=1e-5, rtol=1e-4)
        else:
            assert weight.grad is None


def test_a_fresh_adapter_has_a_term_of_exactly_zero_at_every_step(tiny_model_dir: TinyModelDir) -> None:
    model, prompts = adapted(tiny_model_dir(), initial=True)
    kl_penalty = KlPenalty(model, prompts, per_step=4, seed=0)
    for step in range(6):
        assert set(kl_penalty.divergences(model, kl_penalty.numbers(step)).tolist()) == {0.0}


def test_computing_the_base_leaves_the_model_as_it_was(tiny_model_dir: TinyModelDir) -> None:
    model, prompts = adapted(tiny_model_dir())
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    state, before = torch.get_rng_state(), plain_log_p(model, prompts)
    training = []
    hook = model.register_forward_pre_hook(lambda module, _: training.append(module.training))
    kl_penalty = KlPenalty(model, prompts, per_step=4, seed=0)
    hook.remove()
    # Models with dropout of their own would give the base of every prompt another random part.
    assert training == [False] * 3
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(plain_log_p(model, prompts), before)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == trainable != set()
    assert model.training
    assert not kl_penalty.base.requires_grad


def test_steps_go_round_through_all_prompts_in_an_order_of_the_seed(tiny_model_dir: TinyModelDir) -> None:
    model, prompts = adapted(tiny_model_dir())
    kl_penalty = KlPenalty(model, prompts, per_step=4, seed=0)
    steps = [kl_penalty.numbers(step) for step in range(6)]
    assert steps[:3] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert steps[3:] == steps[:3]
    texts = [prompt.text for prompt in kl_penalty.prompts]
    assert sorted(texts) == sorted(prompt.text for prompt in prompts)
    assert texts != [prompt.text for prompt in prompts]
    assert [prompt.text for prompt in KlPenalty(model, prompts, 4, 0).prompts] == texts
    assert [prompt.text for prompt in KlPenalty(model, prompts, 4, 1).prompts] != texts
    assert KlPenalty(model, prompts, 50, 0).numbers(7) == list(range(11))
