"""What an adapter adapts, on tiny models of many families: their own layers, and each of them to an effect."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError
from outctl.finetune.adapter import adapted_by, add_adapter
from outctl.models.adapters import attach

IDS = torch.tensor([[5, 9, 3, 7, 7, 2, 41]])
TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MIXTURE = TEXT | {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"image_size": 28, "patch_size": 14}
ROTARY = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
OLD = {"vocab_size": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "llama": TEXT,
    "gpt2": OLD | {"n_embd": 32, "n_positions": 128},
    "bloom": OLD | {"hidden_size": 32},
    "gpt_oss": MIXTURE,
    "qwen3_moe": MIXTURE,
    "mixtral": MIXTURE,
    "deepseek_v3": TEXT
    | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
    | {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 4}
    | {"first_k_dense_replace": 1, "head_dim": 4},
    "mamba": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "jamba": MIXTURE | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "gemma3": {"text_config": TEXT | {"sliding_window": 16}, "vision_config": VISION | PATCHES},
    "gemma4": {
        "text_config": TEXT
        | {
            "global_head_dim": 8,
            "sliding_window": 16,
            "vocab_size_per_layer_input": 64,
            "hidden_size_per_layer_input": 8,
        }
    },
    "llama4": {
        "text_config": MIXTURE | {"intermediate_size_mlp": 48},
        "vision_config": VISION
        | PATCHES
        | {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16, "intermediate_size": 64},
    },
    "qwen3_vl": {
        "text_config": TEXT | {"rope_parameters": ROTARY},
        "vision_config": {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
        | {"patch_size": 4, "temporal_patch_size": 1, "spatial_merge_size": 1, "deepstack_visual_indexes": [0]},
    },
    # Has no decoder of its own beside its vision tower.
    "git": {name: value for name, value in TEXT.items() if name != "head_dim"} | {"vision_config": VISION | PATCHES},
}
"""Families, with what makes them tiny."""
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
EXPERTS = ("gate_up_proj", "down_proj")
LLAMA = {f"model.layers.*.{name}": 2 for name in ATTENTION}
LANGUAGE = {f"model.language_model.layers.*.{name}": 2 for name in (*ATTENTION, *MLP)}
ADAPTED: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "llama": (LLAMA | {f"model.layers.*.{name}": 2 for name in MLP}, {}),
    "gpt2": (
        {f"transformer.h.*.{name}": 2 for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")},
        {},
    ),
    "bloom": (
        {
            f"transformer.h.*.{name}": 2
            for name in (
                "self_attention.query_key_value",
                "self_attention.dense",
                "mlp.dense_h_to_4h",
                "mlp.dense_4h_to_h",
            )
        },
        {},
    ),
    "gpt_oss": (LLAMA, {f"model.layers.*.mlp.experts.{name}": 2 for name in EXPERTS}),
    "qwen3_moe": (LLAMA, {f"model.layers.*.mlp.experts.{name}": 2 for name in EXPERTS}),
    "mixtral": (LLAMA, {f"model.layers.*.mlp.experts.{name}": 2 for name in EXPERTS}),
    # PEFT would take the names of dense and shared experts for those of experts before they were fused.
    "deepseek_v3": (
        {
            f"model.layers.*.self_attn.{name}": 2
            for name in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
        },
        {f"model.layers.*.mlp.experts.{name}": 1 for name in EXPERTS},
    ),
    "mamba": ({"backbone.layers.*.mixer.in_proj": 2, "backbone.layers.*.mixer.x_proj": 2}, {}),
    "jamba": (
        {f"model.layers.*.{name}": 1 for name in ATTENTION}
        | {f"model.layers.*.mamba.{name}": 1 for name in ("in_proj", "x_proj", "out_proj")}
        | {f"model.layers.*.feed_forward.{name}": 1 for name in ("gate_proj", "up_proj", "down_proj")},
        {f"model.layers.*.feed_forward.experts.{name}": 1 for name in EXPERTS},
    ),
    "gemma3": (LANGUAGE, {}),
    "gemma4": (
        LANGUAGE
        | {f"model.language_model.layers.*.{name}": 2 for name in ("per_layer_input_gate", "per_layer_projection")}
        | {"model.language_model.per_layer_model_projection": 1},
        {},
    ),
    "llama4": (
        LLAMA | {f"model.layers.*.feed_forward.shared_expert.{name.removeprefix('mlp.')}": 2 for name in MLP},
        {f"model.layers.*.feed_forward.experts.{name}": 2 for name in EXPERTS},
    ),
    "qwen3_vl": (LANGUAGE, {}),
}
"""What the default recipe adapts in each."""


def model_of(family: str) -> Any:
    config = AutoConfig.for_model(family, **OPTIONS[family])
    for part in (config, config.get_text_config()):
        part.initializer_range = 0.3
    kind = AutoModelForImageTextToText if family == "qwen3_vl" else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind.from_config(config, dtype=torch.float32).eval()


def adapted(model: Any, **recipe: Any) -> Any:
    """A model with an adapter whose products are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = add_adapter(model, AdapterRecipe(cases={"given": 1}, steps=1, rank=2, **recipe))
        for name, weight in found.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    return found.eval()


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


@pytest.mark.parametrize("family", sorted(ADAPTED))
def test_every_part_of_an_adapter_learns_and_plain_peft_reads_it(family: str, tmp_path: Path) -> None:
    base = model_of(family)
    model = adapted(copy.deepcopy(base))
    found = adapted_by(model).described()
    assert (found["modules"], found["parameters"]) == ADAPTED[family]
    answers = logits(model)
    assert (answers - logits(base)).abs().max() > 0.01
    answers.log_softmax(-1)[0, :, 3].sum().backward()
    idle = [
        name for name, weight in model.named_parameters() if weight.requires_grad and not weight.grad.abs().sum() > 0
    ]
    assert idle == []
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        plain = logits(PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval())
        own = logits(attach(copy.deepcopy(base), None, tmp_path).model)
    torch.testing.assert_close(plain, answers, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(own, answers, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gpt_oss", "gemma3", "mamba", "qwen3_vl"])
def test_layers_are_those_of_the_language_model(family: str) -> None:
    found = adapted_by(adapted(model_of(family), layers=[1]))
    names = (*found.modules, *found.parameters)
    assert names
    assert all(".1." in name and "vis" not in name for name in names)


def test_a_tower_that_lies_inside_the_decoder_is_left_alone() -> None:
    found = adapted_by(adapted(model_of("git")))
    assert found.modules
    assert all(name.startswith("git.encoder.layer.") for name in found.modules)


def test_a_recipe_may_name_experts_alone_and_where_they_lie() -> None:
    found = adapted_by(adapted(model_of("gpt_oss"), target_modules=["experts.down_proj"])).described()
    assert found == {"modules": {}, "parameters": {"model.layers.*.mlp.experts.down_proj": 2}}


def test_a_name_fits_where_it_lies_and_nowhere_else() -> None:
    found = adapted_by(adapted(model_of("gpt2"), target_modules=["attn.c_proj"])).described()
    assert found == {"modules": {"transformer.h.*.attn.c_proj": 2}, "parameters": {}}


@pytest.mark.parametrize(
    ("family", "recipe", "message"),
    [
        ("gpt_oss", {"dropout": 0.1}, "dropout: PEFT has none for fused experts; set it to 0, or list target_modules"),
        (
            "mamba",
            {"target_modules": ["out_proj"]},
            "PEFT cannot adapt this model of type 'mamba' .*out_proj.*; list other",
        ),
        ("deepseek_v3", {"target_modules": ["shared_experts.up_proj"]}, "PEFT cannot adapt .* of type 'deepseek_v3'"),
        (
            "llama4",
            {"target_modules": ["router"]},
            "the model has no 'router'; its linear layers are down_proj, gate_proj",
        ),
        ("gemma3", {"target_modules": ["fc1"]}, "the model has no 'fc1'; its linear layers are down_proj"),
        ("llama", {"target_modules": ["lm_head"]}, "the model has no 'lm_head'"),
    ],
)
def test_what_peft_cannot_adapt_is_refused_in_one_line(family: str, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(OutctlError, match=message):
        adapted(model_of(family), **recipe)


def test_the_configuration_names_modules_by_their_ends_where_these_tell_them() -> None:
    config = adapted(model_of("llama")).peft_config["default"]
    assert sorted(config.target_modules) == sorted(name.rpartition(".")[2] for name in (*ATTENTION, *MLP))
    config = adapted(model_of("gemma3")).peft_config["default"]
    assert config.target_modules.startswith(r"model\.language_model\.layers\.(?:0|1)\.self_attn\.q_proj|")
