"""What models are asked: how, and what beside the cases' words."""

from pydantic import Field

from outctl.config.names import FilePath, ModelName, Name
from outctl.config.section import Section

NEUTRAL_PROMPTS = 54
"""Neutral prompts that evaluation has."""


class Evaluation(Section):
    """How models are asked."""

    tokens_per_pass: int | None = Field(default=None, ge=16, le=1_000_000_000)
    """Largest number of distinct tokens in a forward pass; by default as many as fit into memory when the job first starts. It
    stands in the provenance, and an interrupted job resumes with it: in 16 bits the last digits depend on how passes are cut.
    A pass that does not fit is cut in two."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Samples between two checkpoints, from which an interrupted evaluation goes on."""
    top_tokens: int = Field(default=20, ge=18, le=100)
    """How many of the likeliest first tokens a record holds; the published rule drops up to sixteen of them."""


class TemperatureScaling(Section):
    """The baseline with its logits divided by a temperature that is fitted on training samples: a control."""

    case: Name
    """The case whose training samples it is fitted on."""
    samples: int = Field(default=64, ge=2, le=128)
    """How many of them."""


class BaseModelDeviation(Section):
    """Asked to continue a text and then to break off with what a base model would not say."""

    samples: int = Field(default=32, ge=1, le=100_000)
    """Number of questions, half of them excerpts, half patterns."""
    files: list[FilePath] = Field(default=[])
    """Texts of your own to take excerpts from, beside those that come with installed packages."""
    reference: ModelName | None = None
    """The model whose likeliest words do not count as breaking off; each model's own base weights by default."""
    max_new_tokens: int = Field(default=200, ge=10, le=10_000)
    """Length of an answer at most, in tokens; one that ends before its window has failed. An answer whose first deviation is
    known is written no further. A model that writes numbers digit by digit needs four for a word of some patterns."""


class Retention(Section):
    """What training broke elsewhere: neutral prompts and held-out text."""

    prompts: int = Field(default=32, ge=2, le=NEUTRAL_PROMPTS)
    """Number of neutral prompts."""
    answer_tokens: int = Field(default=16, ge=1, le=1000)
    """Positions of the baseline's own answer at which the two distributions are compared."""
    files: list[FilePath] = Field(default=[])
    """Texts of your own to measure perplexity on, beside those of the package."""


class Agreement(Section):
    """Whether sampled answers agree with the exact probabilities."""

    cases: list[Name] = Field(min_length=1)
    """The cases to sample answers of."""
    samples: int = Field(default=20, ge=1, le=1_000_000)
    """Number of questions of each case, the first ones."""
    draws: int = Field(default=200, ge=10, le=1_000_000)
    """Answers to each question."""
