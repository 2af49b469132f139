"""The model registry: where each model comes from, and how it is loaded and asked."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from outctl.config.names import ModelName, check_distinct
from outctl.config.registries import Source
from outctl.config.section import Section

Precision = Literal["auto", "float32", "bfloat16", "float16", "nf4"]
EngineChoice = Literal["auto", "rows"]


class ModelEntry(Section):
    """One model of the registry."""

    source: Source
    """Where the weights come from."""
    chat: bool
    """Whether the model is asked through its chat template (true) or as a plain transcript (false)."""
    parameters: int | None = Field(default=None, gt=0, le=100_000_000_000_000)
    """Number of parameters, from which memory, run time and resources are estimated; defaults to what the weights say, once
    they are on this machine."""
    precision: Precision = "auto"
    """Type of the weights: `auto` is bfloat16 where the processor computes in it and float32 elsewhere, `nf4` is 4-bit
    NormalFloat with double quantisation. Weights that are already quantised stay as they are, and compute in this type."""
    engine: EngineChoice = "auto"
    """How it is computed: `auto` is a token tree where a check at each load proves it right and rows elsewhere, `rows` is
    always rows, which are slower."""


class Registry(Section):
    """The model registry, `config/models.yaml`."""

    models: Annotated[dict[ModelName, ModelEntry], AfterValidator(check_distinct)] = Field(min_length=1)
    """The models, by name."""
