"""Models of real configurations with random weights, and a tokenizer for them: what a speed depends on, without downloads.

The tokenizer is a byte-level BPE over syllables (*ka*, *to*). A word is two syllables, and is split into one to three
tokens according to whether it is capitalised or has a space before it, as words of real tokenizers are. The rest of the
vocabulary is filled up with tokens of letters, every second with a space before it: about as many of them as in a real
vocabulary make a longer word of what they follow.
"""

from itertools import product
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "Llama-3.1-8B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": False,
    },
    "Qwen2.5-7B": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "use_sliding_window": False,
        "tie_word_embeddings": False,
    },
    "Llama-3.2-3B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": True,
    },
}
TINY = {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
"""Sizes of the same architectures that a CPU computes in no time."""

END = "<|end|>"
SYLLABLES = ["".join(pair) for pair in product("bdgklmnprt", "aeiou")]


def configuration(name: str, tiny: bool = False) -> PretrainedConfig:
    """The configuration of a model of `CONFIGURATIONS`, or of its architecture in `TINY` sizes."""
    return make_configuration(**CONFIGURATIONS[name] | (TINY if tiny else {}))


def make_configuration(model_type: str, **options: Any) -> PretrainedConfig:
    """A configuration whose end token is that of `make_tokenizer`; there is no padding and no beginning."""
    return AutoConfig.for_model(model_type, bos_token_id=None, eos_token_id=0, pad_token_id=None, **options)


def random_model(config: PretrainedConfig, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A model with the architecture's own initialisation, made where it will be used: 16 GB never cross the bus."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def quantise(model: Any) -> None:
    """Replace the weights of all linear layers but the output projection by 4-bit ones (NF4, double quantisation)."""
    import bitsandbytes

    head = model.get_output_embeddings()
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    for name, layer in layers:
        quantised = bitsandbytes.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        weight = bitsandbytes.nn.Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=quantised
        )
        quantised.weight = weight.to(layer.weight.device)
        quantised.bias = layer.bias
        # Kernels for CPUs with AVX512-BF16 have no backward pass.
        quantised.support_avx512bf16_for_cpu = False
        model.set_submodule(name, quantised)
        # The list still holds the layer.
        del layer.weight
    # By this PEFT knows that its layers go on top of 4-bit ones.
    model.is_loaded_in_4bit = True
    model.eval()


def make_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """The tokenizer with a vocabulary of exactly `size` tokens."""
    capitals = [syllable.capitalize() for syllable in SYLLABLES]
    merges = [(syllable[0], syllable[1]) for syllable in [*SYLLABLES, *capitals]]
    merges += [("Ġ", syllable) for syllable in SYLLABLES]
    pairs = list(product(enumerate(SYLLABLES), enumerate(SYLLABLES)))
    merges += [(one, other) for (i, one), (j, other) in pairs if (i + j) % 2 == 0]
    merges += [(f"Ġ{one}", other) for (i, one), (j, other) in pairs if (i + j) % 4 == 0]
    pieces = [END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    if len(pieces) > size:
        raise ValueError(f"the vocabulary takes at least {len(pieces)} tokens, not {size}")
    filling = [f"{'Ġ' if number % 2 else ''}z{_letters(number)}" for number in range(size - len(pieces))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *filling])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def _letters(number: int) -> str:
    """A different string of letters for each number."""
    letters = ""
    while True:
        number, digit = divmod(number, 26)
        letters += chr(ord("a") + digit)
        if not number:
            return letters
