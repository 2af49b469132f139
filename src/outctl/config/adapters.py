"""Adapters: recipes that are trained, sweeps of them, and those that were trained elsewhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from outctl.config.names import AdapterName, FilePath, ModelName, Name
from outctl.config.registries import LossName
from outctl.config.section import Section

Forms = Literal["all", "as_written", "spaced"]


class AdapterRecipe(Section):
    """How one LoRA adapter is trained, for every model."""

    cases: dict[Name, int] = Field(min_length=1)
    """The cases it trains on, each with how many of the case's training samples it takes."""
    targets: Literal["asked", "shuffled", "even"] = "asked"
    """What it learns to answer: the shares that are `asked` for, or, as controls, those of another sample (`shuffled`), or
    always an `even` split."""
    loss: LossName = "kl"
    """Divergence between target and answer. For cases in which the model picks the words it compares by rank."""
    forms: Forms = "all"
    """The surface forms that the loss counts for a given word: `all`, as evaluation always does, `as_written`, which leaves the
    capitalised ones out, or `spaced`, of these the one behind a space, with which most tokenizers write a word in the fewest
    tokens. The fewer forms, the fewer tokens a step has to compute; the others are *anything else* to the loss."""
    whole_words: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the samples whose words the loss reads to their end. In the others the first token of each form stands for a
    given word, and whatever else begins with it counts as that word: less to compute, for what follows is soon learned. Meant
    for `forms: spaced`, whose first tokens say most. Limits, answers of several words, words that the model picks and those of
    a question that begin alike are always read whole."""
    steps: int = Field(ge=1, le=1_000_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(default=16, ge=1, le=1_000_000_000)
    """Samples in a forward pass; where memory does not take as many, they go through in parts, to the same gradients."""
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=1_000_000_000)
    """Batches in an optimiser step. Every step has all of them: samples that are left over at the end of an epoch are left
    out of it, as its order is drawn anew each time."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate."""
    schedule: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "cosine"
    """How the learning rate moves after the warm-up; `constant_with_warmup` is another name of `constant`."""
    warmup_steps: int = Field(default=10, ge=0, le=1_000_000_000)
    """Steps in which the learning rate grows to its highest."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decay of the adapter's weights (AdamW)."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Norm to which gradients are clipped."""
    retention_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the KL penalty, which is added to the loss: the mean KL divergence from the model without adapter to the
    one with it, over all next tokens behind neutral prompts. 0 leaves it out."""
    retention_prompts: int = Field(default=8, ge=1, le=1_000_000_000)
    """Neutral prompts in each step's KL penalty; the last step of each round through them takes those that are left."""
    rank: int = Field(default=16, ge=1, le=1_000_000_000)
    """Rank of the adapter."""
    alpha: float = Field(default=32.0, gt=0.0)
    """Scale of the adapter: its product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout in front of the adapter."""
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """The linear layers that it adapts, by the end of their names."""
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """The decoder layers that it adapts, counted from 0; all by default."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of the adapter's first weights, of the data order and of dropout."""
    held_out_samples: int = Field(default=32, ge=2, le=1_000_000_000)
    """Training samples kept back to be measured while training; no word of theirs is trained on."""
    log_every: int = Field(default=10, ge=1, le=1_000_000_000)
    """Steps between two lines of `training.jsonl`."""
    measure_every: int = Field(default=50, ge=1, le=1_000_000_000)
    """Steps between two measurements on the samples kept back."""
    checkpoint_every: int = Field(default=100, ge=1, le=1_000_000_000)
    """Steps between two checkpoints, from which an interrupted training goes on; a multiple of `log_every`, since the mean
    loss of a line begins anew there."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint_every % self.log_every:
            raise ValueError(f"checkpoint_every: {self.checkpoint_every} is no multiple of log_every: {self.log_every}")
        return self

    @property
    def samples_per_step(self) -> int:
        """Samples of an optimiser step."""
        return self.batch_size * self.gradient_accumulation_steps


class AdapterOnHub(Section):
    """An adapter's repository on the Hugging Face hub."""

    kind: Literal["hub"]
    """Which source this is."""
    repo: str = Field(pattern=r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$", max_length=96)
    """Repository, as `owner/name`."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository, 40 hexadecimal digits: a branch name would not stay the same adapter."""


class AdapterInDirectory(Section):
    """An adapter's directory on this machine, in the layout of PEFT."""

    kind: Literal["local"]
    """Which source this is."""
    path: FilePath
    """The directory, absolute or relative to the file that names it."""


AdapterSource = Annotated[AdapterOnHub | AdapterInDirectory, Field(discriminator="kind")]


class ExistingAdapter(Section):
    """An adapter that was trained elsewhere, evaluated as it is: LoRA and its variants in the layout of PEFT."""

    source: AdapterSource
    """Where it comes from."""
    models: Annotated[list[ModelName], Field(min_length=1)] | None = None
    """The models of the experiment that it is put on; all by default."""
    force: bool = False
    """Whether it is put on a model other than the one that it names as its base."""


def _has_recipe(content: Any) -> Literal["recipe", "existing"]:
    """Which of the two an adapter of the configuration is."""
    existing = "source" in content if isinstance(content, Mapping) else isinstance(content, ExistingAdapter)
    return "existing" if existing else "recipe"


AdapterEntry = Annotated[
    Annotated[AdapterRecipe, Tag("recipe")] | Annotated[ExistingAdapter, Tag("existing")], Discriminator(_has_recipe)
]


class Sweep(Section):
    """A recipe in many variations, each an adapter of its own: what control depends on."""

    base: AdapterName
    """The adapter whose recipe is varied."""
    vary: dict[str, Annotated[list[Any], Field(min_length=1)] | Annotated[dict[Name, Any], Field(min_length=1)]] = (
        Field(min_length=1)
    )
    """Keys of the recipe, each with its values; values that are lists themselves need names: `{early: [0, 1], late: [2, 3]}`.
    `samples` is the number of training samples of the recipe's case. Of several keys, all combinations are made. The
    adapters are called after the sweep and the values: `rank-4`."""
