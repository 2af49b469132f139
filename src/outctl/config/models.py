"""The model registry: where each model comes from, and how it is loaded and asked."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from outctl.config.names import ModelName, check_distinct
from outctl.config.registries import Source
from outctl.config.section import Section
from outctl.errors import OutctlError

Precision = Literal["auto", "float32", "bfloat16", "float16", "nf4"]
EngineChoice = Literal["auto", "rows"]
FLOAT32_PARAMETERS = 1_000_000_000
"""Up to this size `precision: auto` evaluates in float32: in 16 bits, rounding alone moves distances by hundredths."""


def check_trainable(where: str, computed: str) -> None:
    """Refuse to train in a type in which small gradients become zero, as no loss is scaled here.

    Args:
        where: what says so, for the message.
        computed: the type that the model computes in.

    Raises:
        OutctlError: it is float16.
    """
    if computed == "float16":
        raise OutctlError(
            f"{where}: adapters are not trained in float16, in which small gradients become zero; use bfloat16 or float32"
        )


FIXED_KWARGS = (
    *("messages", "conversation", "conversations", "add_generation_prompt", "continue_final_message", "strftime_now"),
    *("tokenize", "tokenizer_kwargs", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "sanitize_control_tokens"),
)
"""What `template_kwargs` cannot set: the questions themselves, and how text becomes tokens."""


class PromptOptions(Section):
    """How a model is asked, beside its chat template."""

    template_kwargs: dict[str, Any] = Field(default={})
    """Variables of the chat template: `{enable_thinking: false}`, `{reasoning_effort: low}`. `chat_template` names one of
    several templates of the model, or is a template itself. `date_string` is 26 Jul 2024 by default, as is every other date
    that a template writes."""
    prefill: str = ""
    """What the model's answer begins with: an empty think block, the final channel of gpt-oss. Special tokens in it are read
    as such; it does not end in a space."""
    system: str = ""
    """A system turn for every question; where a case has its own, this one stands above it in the same turn."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        for name in FIXED_KWARGS:
            if name in self.template_kwargs:
                raise ValueError(f"template_kwargs: {name!r} is set by outctl; leave it out")
        try:
            json.dumps(self.template_kwargs, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("template_kwargs: holds something else than texts, numbers, lists and keys") from None
        chosen = self.template_kwargs.get("chat_template", "")
        if not isinstance(chosen, str):
            raise ValueError(f"template_kwargs: chat_template is a name or a template, not {chosen!r}")
        if self.prefill.endswith(" "):
            raise ValueError(
                "prefill: ends in a space, which would belong to the first token of the answer; leave it out"
            )
        return self


AS_IT_COMES = PromptOptions()
"""A model that is asked with nothing but its template."""


class ModelEntry(PromptOptions):
    """One model of the registry."""

    source: Source
    """Where the weights come from."""
    chat: bool
    """Whether the model is asked through its chat template (true) or as a plain transcript (false)."""
    parameters: int | None = Field(default=None, gt=0, le=100_000_000_000_000)
    """Number of parameters, from which memory, run time and resources are estimated; defaults to what the weights say, once
    they are on this machine."""
    precision: Precision = "auto"
    """Type of the weights. `auto` evaluates models of up to a billion parameters in float32; larger ones, and trainings, are in
    bfloat16 where the processor computes in it and in float32 elsewhere. `nf4` is 4-bit NormalFloat with double
    quantisation. Weights that are already quantised stay as they are, and compute in this type. Adapters are not trained in
    `float16`."""
    engine: EngineChoice = "auto"
    """How it is computed: `auto` is a token tree where a check at each load proves it right and rows elsewhere, `rows` is
    always rows, which are slower."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.template_kwargs and not self.chat:
            raise ValueError("template_kwargs: there is no chat template with `chat: false`; leave template_kwargs out")
        return self


class Registry(Section):
    """A model registry, such as `config/models.yaml`."""

    extends: Literal["built-in"] | None = None
    """`built-in` adds the models that come with outctl, but for those whose names stand here too."""
    models: Annotated[dict[ModelName, ModelEntry], AfterValidator(check_distinct)] = Field(default={})
    """The models, by name."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.models and self.extends is None:
            raise ValueError("models: there is none; add one, or extend the registry that comes with outctl")
        return self
