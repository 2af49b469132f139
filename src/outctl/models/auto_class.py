"""Which class of transformers loads a model as one that continues text."""

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from outctl.errors import OutctlError


def auto_class(config: Any) -> Any:
    """The auto class for a configuration: that of causal language models, else that of image-text models.

    Image-text models are asked in text alone.

    Raises:
        OutctlError: transformers has no such class for this type, or an encoder reads the model's text.
    """
    kind = type(config)
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING and not _is_whole(config):
        return AutoModelForCausalLM
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise OutctlError(
            f"models of type {config.model_type!r} do not generate text by this version of transformers; choose a causal "
            "language model"
        )
    if config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder:
        raise OutctlError(
            f"models of type {config.model_type!r} read their prompt with an encoder; choose a model that generates text from "
            "left to right"
        )
    return AutoModelForImageTextToText


def _is_whole(config: Any) -> bool:
    """Whether a checkpoint is of an image-text model whose causal class does not take its other parts (Llama 4)."""
    kind = type(config)
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return False
    causal, whole = MODEL_FOR_CAUSAL_LM_MAPPING[kind], MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[kind]
    named = whole is not causal and whole.__name__ in (config.architectures or ())
    # What the causal class leaves out of such a checkpoint stands in this list.
    return named and not any("vis" in pattern for pattern in causal._keys_to_ignore_on_load_unexpected or ())
