"""How records are summarised and compared."""

from pydantic import Field

from outctl.config.names import Name
from outctl.config.section import Section


class Statistics(Section):
    """How records are summarised."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the intervals."""
    bootstrap_samples: int = Field(default=2000, ge=100, le=1_000_000)
    """Number of bootstrap resamples behind an interval of a mean."""
    permutations: int = Field(default=9999, ge=99, le=10_000_000)
    """Number of sign flips behind a p-value, where not all can be tried."""


class Comparisons(Section):
    """What is compared, paired by sample, beside every variant with the baseline of its model."""

    adapters: dict[Name, list[Name]] = Field(default={})
    """Adapters, each with those that it is compared with on every case: one that was trained on what is asked with its
    controls, for instance."""
    cases: dict[Name, Name] = Field(default={})
    """Cases, each with the one that it is compared with for every variant; the two ask for the same words and shares in
    different templates. Where one has fewer samples, they are the other's first."""
