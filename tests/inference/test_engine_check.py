"""Which engine a model is given, and what is refused: models that look ahead, and whatever differs from plain passes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from outctl.errors import OutctlError
from outctl.inference import engine_check
from outctl.inference.engine import engine_of
from outctl.inference.engine_check import choose_engine
from outctl.models.loading import LoadedModel

TinyModel = Callable[..., LoadedModel]
SIZES: dict[str, Any] = {
    **{"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "initializer_range": 0.3,
}


def random(architecture: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(architecture, **(SIZES | options))
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.mark.parametrize(
    ("architecture", "engine", "shares", "steps"),
    [
        ("llama", "tree: proven against plain passes", True, True),
        ("gpt2", "tree: proven against plain passes", True, True),
        ("gemma2", "rows: a token tree knows no soft caps", True, True),
        ("gpt_oss", "rows: it attends to 16 tokens only", True, True),
        ("bloom", "rows: its layers take no token tree", True, True),
        # Its layers begin anew when they are given several tokens at once behind a state.
        ("mamba", "rows: its layers take no token tree", False, True),
        ("qwen3_5_text", "rows: its layers take no token tree", True, True),
        ("jamba", "rows: its layers take no token tree", False, True),
    ],
)
def test_each_family_has_its_engine(
    architecture: str, engine: str, shares: bool, steps: bool, tiny_model: TinyModel
) -> None:
    loaded = tiny_model(architecture)
    assert loaded.description["engine"] == engine
    assert (engine_of(loaded.model).shares, engine_of(loaded.model).steps) == (shares, steps)


def test_rows_can_be_asked_for(tiny_model_dir: Callable[..., Any]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32)
    assert str(choose_engine(model, only_rows=True)) == "rows: asked for"


@pytest.mark.parametrize("architecture", ["roc_bert", "bert"])
def test_models_that_look_ahead_are_refused_in_one_line(architecture: str) -> None:
    with pytest.raises(OutctlError) as refused:
        choose_engine(random(architecture))
    assert str(refused.value).startswith(
        f"models of type '{architecture}' are not causal: later tokens change the logits"
    )
    assert "\n" not in str(refused.value)


def test_an_encoder_that_is_told_to_generate_text_is_asked() -> None:
    assert choose_engine(random("bert", is_decoder=True)).name == "tree"


@pytest.mark.parametrize("part", [1e-3, float("nan")])
def test_a_tree_that_is_a_little_wrong_is_not_taken(part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = engine_check.logits_at
    monkeypatch.setattr(engine_check, "logits_at", lambda *given: right(*given) * (1 + part))
    model = random("llama", num_key_value_heads=2)
    engine = choose_engine(model)
    assert engine.name == "rows"
    assert "branches of a token tree are not kept apart" in engine.reason
    # The model attends again as it did.
    assert model.config._attn_implementation == "sdpa"


def test_rows_that_are_a_little_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = engine_check._in_rows
    monkeypatch.setattr(engine_check, "_in_rows", lambda *given: [logits * 1.001 for logits in right(*given)])
    with pytest.raises(OutctlError, match=r"'llama' cannot be asked in rows \(logits differ by 0.001 of their norm\)"):
        choose_engine(random("llama"))


def test_in_16_bits_only_types_that_were_proven_in_float32_take_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine(random("llama", torch.bfloat16)).name == "tree"
    monkeypatch.setattr(engine_check, "KNOWN_ENGINES", {})
    assert (
        str(choose_engine(random("llama", torch.bfloat16)))
        == "rows: tree attention is not proven in float32 for this type"
    )
    assert choose_engine(random("llama")).name == "tree"
