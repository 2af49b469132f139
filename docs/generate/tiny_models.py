"""Tiny random models of every causal and image-text type that transformers lists: the default configuration, made small."""

import re
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from outctl.models.auto_class import auto_class

TYPES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
IMAGE_TEXT = tuple(kind for kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES if kind not in TYPES)
"""Types that are loaded by the class of image-text models."""
VOCABULARY = 96

SIZES: tuple[tuple[str, int], ...] = (
    (r"(text_|ext_)?vocab_size(_per_layer_input)?|encoder_hash_byte_group_vocab", VOCABULARY),
    (
        r"hidden_size(_global)?|d_model|n_embd|emb_dim|word_embed_proj_dim|embedding_size|attention_hidden_size|dim|lru_width",
        32,
    ),
    (
        r".*intermediate_size.*|.*ffn_dim|ffn_hidden_size|n_inner|.*ffn_embed_dim|dim_ff|mlp_hidden_size|feed_forward_size|dff",
        48,
    ),
    (r"(num_)?(hidden_|encoder_|decoder_)?layers|n_layers?|num_blocks", 4),
    (r".*attention_heads|n_heads?|num_heads|num_attention_heads_linear", 4),
    (r".*(key_value|kv)_heads", 2),
    (r".*head_dim|dim_head|d_kv|rotary_dim", 8),
    (r"q_lora_rank|kv_lora_rank|.*lora_rank|.*_low_rank_dim", 16),
    (r"(n_routed|num|num_local|moe_num|n)_experts", 4),
    (r".*experts_per_tok(en)?|.*top_?k(_experts)?|num_selected_experts|moe_k", 2),
    (r"n_group|topk_group|n_shared_experts|num_shared_experts|num_expert_group", 1),
    (
        r"max_position_embeddings|n_positions|max_seq(uence)?_len(gth)?|max_target_positions|n_ctx|.*max_source_positions",
        512,
    ),
    (r"sliding_window(_size)?|attention_window_size|window_size|attention_chunk_size", 64),
    (r"(mamba_|ssm_)?chunk_size", 16),
    (r"(mamba_|ssm_)?(d_)?state_size|mamba_d_state|ssm_state_size", 8),
    (r"image_size", 28),
    (r"patch_size", 14),
)
"""The size that a key of a configuration is given where its default is larger."""
SPREAD = 0.2
"""Standard deviation of weights: large enough for uneven distributions."""

_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_SECTIONS = {"rope_parameters": {**_ROPE["rope_parameters"], "mrope_section": [2, 1, 1]}}
_INDEXER = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8}
_MAMBA_HEADS = {"mamba_n_heads": 8, "mamba_d_head": 8}
_LATENT = {
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16, "kv_lora_rank": 16, "q_lora_rank": 16},
    **{"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
}
_DOTS = {
    **_LATENT,
    **{
        "hidden_size": 32,
        "moe_intermediate_size": 48,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 64,
    },
    # With few heads many tokens have a score of exactly zero, and which of them are picked is left to chance.
    **{
        "index_n_heads": 64,
        "index_head_dim": 8,
        "index_topk": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "layer_types": ["indexed_attention", "sliding_attention"] * 2,
    "per_layer_config": dict.fromkeys((1, 3), _LATENT),
}
EXTRAS: dict[str, dict[str, Any]] = {
    "glm4v_moe": {"text_config": {"rope_parameters": {**_SECTIONS["rope_parameters"], "partial_rotary_factor": 1.0}}},
    "mistral4": _LATENT,
    "paligemma": {"text_config": {"num_key_value_heads": 2}},
    "step3p7": {"text_config": {"sliding_window": 64}},
    "chameleon": {"vocabulary_map": {"<image>": 4}},
    "cohere_compass": {"text_config": {"rope_parameters": {"full_attention": _ROPE["rope_parameters"]}}},
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense", "sparse"] * 2, "num_experts_per_tok": 2}},
    "diffusion_gemma": {"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 48}},
    "ernie4_5_vl_moe": {
        "text_config": {"rope_parameters": {**_ROPE["rope_parameters"], "mrope_section": [1, 1, 2]}},
    },
    "glm5_next": {"text_config": {"index_topk": 16, "num_attention_heads": 4, "num_key_value_heads": 4}},
    "granite4_vision": {
        "deepstack_layer_map": [[0, 0]],
        "spatial_target_layers": [0],
        "downsample_rate": "1/2",
        "vision_config": {"hidden_size": 64},
        "qformer_config": {"hidden_size": 64, "num_attention_heads": 1},
    },
    "granite_docling": {"vision_config": {"out_hidden_size": 32}},
    "hunyuan_vl": {
        "text_config": {"head_dim": 8, "rope_parameters": {**_ROPE["rope_parameters"], "mrope_section": [1, 1, 1, 1]}},
    },
    "inkling2": {"vision_config": {"text_hidden_size": 32}},
    "molmo2": {"adapter_config": {"vision_feature_layer": [2, 1]}},
    "muse_spark": {"audio_config": {"out_hidden_size": 32}},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "bailing_hybrid": {"layer_group_size": 2, "first_k_dense_replace": 1},
    "bamba": {**_MAMBA_HEADS, "attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": _ROPE["rope_parameters"]},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
        **_ROPE,
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots3_note": {
        "text_config": _DOTS,
        "vision_config": {"adapter_in_dim": 32, "adapter_out_dim": 32, "num_hidden_layers": 42},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": _DOTS,
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {**_MAMBA_HEADS, "layer_types": ["mamba", "attention"] * 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "moe_topk": 2, "num_experts": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "longcat_flash": {"qk_head_dim": 16, "zero_expert_num": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp": {"text_config": {"indexer_budget": 16, "indexer_compress_ratio": 4, **_INDEXER}},
    "qwen4_exp_text": {"indexer_budget": 16, "indexer_compress_ratio": 4, **_INDEXER},
    "reformer": {
        "is_decoder": True,
        "axial_pos_embds": False,
        "attn_layers": ["local", "local", "lsh", "lsh"],
        "lsh_attn_chunk_length": 16,
        "local_attn_chunk_length": 16,
    },
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "num_heads": 4, "ffn_round_up_to_multiple_of": 16},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "attention_hidden_size": 64},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "n_mamba_heads": 8,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
}
"""Further keys of single types: sizes that belong together, and lists with one entry per layer."""
for _kind in (
    *("cosmos3_edge", "glm46v", "glm4v", "glm_ocr", "glmga", "paddleocr_vl"),
    *("qwen2_5_omni_thinker", "qwen2_5_vl", "qwen2_vl"),
):
    EXTRAS[_kind] = {"text_config": _SECTIONS}


def tiny_config(kind: str, **options: Any) -> PretrainedConfig:
    """The configuration of a tiny model of a type.

    Args:
        kind: one of `TYPES` or `IMAGE_TEXT`.
        options: further keys.
    """
    made = CONFIG_MAPPING[kind]
    return made(**_merged(_small(made()), EXTRAS.get(kind, {}) | options))


def _merged(keys: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Keys and further ones, which win; those of parts too."""
    parts = {
        name: _merged(keys[name], part) for name, part in more.items() if name.endswith("_config") and name in keys
    }
    return keys | more | parts


def _small(config: PretrainedConfig) -> dict[str, Any]:
    """The keys of a configuration that are to be smaller; those of its parts too."""
    found: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        part = getattr(config, name, None) if isinstance(value, dict) else None
        if isinstance(part, PretrainedConfig):
            found[name] = {**_small(part), "model_type": part.model_type}
        elif isinstance(value, bool):
            continue
        elif isinstance(value, int) and name.endswith("token_id"):
            found[name] = min(value, 2) if value >= 0 else value
        elif isinstance(value, int):
            sizes = [size for pattern, size in SIZES if re.fullmatch(pattern, name)]
            if sizes and value > sizes[0]:
                found[name] = sizes[0]
        elif isinstance(value, float) and re.fullmatch(r".*(dropout|drop|pdrop|dropout_prob)", name):
            found[name] = 0.0
    if "kv_lora_rank" in found:
        # Latent attention has as many heads for keys as for queries.
        found["num_key_value_heads"] = 4
    return found


def tiny_model(kind: str, **options: Any) -> PreTrainedModel:
    """A tiny model with seeded random weights, in float32 and evaluation mode.

    Raises:
        OutctlError: it does not generate text from left to right.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = tiny_config(kind, **options)
        model = auto_class(config).from_config(config, dtype=torch.float32).eval()
        for name, weight in model.named_parameters():
            # As they are initialised, many models answer almost evenly, and whatever is wrong with them stays small.
            if weight.dim() in (2, 3) and "conv" not in name and "A_log" not in name and weight.std() < SPREAD / 2:
                torch.nn.init.normal_(weight, std=SPREAD)
    return model
