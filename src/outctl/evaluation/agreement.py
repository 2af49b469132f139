"""Records of drawn answers beside their exact probabilities, and what they amount to."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from scipy import stats

from outctl.config.statistics import Statistics
from outctl.evaluation.records import ROUNDING, Share
from outctl.metrics.statistics import NAN, mean_interval, rate_interval
from outctl.storage.files import StrictRow, TableRow, read_rows, write_jsonl
from outctl.storage.intervals import Bootstrap, Wilson, with_intervals

SIGNIFICANCE = 0.05
"""Level below which a sample's counts disagree: one in twenty does by chance."""
Count = Annotated[int, Field(ge=0)]


class AgreementRecord(StrictRow):
    """One sample's answers, counted, beside its exact probabilities. Undefined numbers are null."""

    sample_id: str = Field(min_length=1)
    """The sample."""
    case: str
    """Its case."""
    model: str
    """The model asked."""
    variant: str
    """`baseline`, or the adapter asked."""
    words: list[Annotated[str, Field(min_length=1)]]
    """The words asked for; or the likeliest words of the model itself, likeliest first."""
    target: list[Share] = Field(min_length=2)
    """The share asked for each word."""
    probabilities: list[Share]
    """Exact probability that the answer is each word, in their order."""
    other_mass: Share
    """Exact probability of any other answer."""
    draws: int = Field(ge=1)
    """Number of answers drawn."""
    counts: list[Count]
    """How many of them are each word."""
    other_count: Count
    """How many of them are anything else."""
    chi_square: Annotated[float, Field(ge=0.0)] | None
    """Pearson's statistic of the counts; null where fewer than two outcomes are left to compare."""
    degrees_of_freedom: Count
    """Its degrees of freedom: outcomes compared, less one; 0 where it is null."""
    p_value: Share | None
    """Probability that draws from the exact probabilities are as far from them; null where the statistic is, and where the model
    computes in 16 bits, as many draws tell the rounding of two ways to compute the same."""
    tvd_exact_sampled: Share
    """Total variation distance between frequencies and exact probabilities, over the words and *anything else*."""
    sampling_floor: Share
    """What that distance is on average for so many draws from the exact probabilities."""
    tvd: Share
    """Distance between target and exact probabilities."""
    tvd_sampled: Share
    """Distance between target and frequencies."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key, values in (("words", self.words), ("probabilities", self.probabilities), ("counts", self.counts)):
            if len(values) != len(self.target):
                raise ValueError(f"{key}: {len(values)} of them for {len(self.target)} shares")
        total = sum(self.probabilities) + self.other_mass
        if abs(total - 1.0) > ROUNDING:
            raise ValueError(f"probabilities: with other_mass they sum to {total}, not to 1")
        if sum(self.counts) + self.other_count != self.draws:
            total = sum(self.counts) + self.other_count
            raise ValueError(f"counts: with other_count they sum to {total}, not to {self.draws} draws")
        return self


@with_intervals
class AgreementRow(TableRow):
    """What the agreement of a model, variant and case amounts to. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """`baseline`, or an adapter."""
    case_type: str
    """The case."""
    num_samples: int
    """Number of samples."""
    avg_tvd_exact_sampled: Bootstrap
    """Mean total variation distance between frequencies and exact probabilities."""
    avg_sampling_floor: Bootstrap
    """Mean of what that distance is on average for draws from the exact probabilities."""
    avg_tvd: Bootstrap
    """Mean distance between target and exact probabilities, on these samples."""
    avg_tvd_sampled: Bootstrap
    """Mean distance between target and frequencies: what a study sees that has answers alone. The fewer draws, the larger."""
    chi_square: float
    """Sum of the samples' statistics."""
    degrees_of_freedom: int
    """Sum of their degrees of freedom."""
    p_value: float
    """Probability that draws from the exact probabilities are as far from them, over all samples."""
    p_value_holm: float
    """The same, corrected by Holm for the number of rows of the table that have one."""
    disagreeing: Wilson
    """Share of samples with a p-value below 0.05, of those with one: 0.05 is expected."""


def write_agreement(path: Path, records: Iterable[AgreementRecord]) -> None:
    """Write records, one a line."""
    write_jsonl(path, (record.model_dump(mode="json") for record in records))


def read_agreement(path: Path) -> list[AgreementRecord]:
    """Read the records of a file, which are all of one model, variant and case.

    Raises:
        OutctlError: the file is missing or empty, a line is no record, or records do not belong together.
    """
    return read_rows(path, AgreementRecord, "sample_id", ["model", "variant", "case"], "draw the answers again")


def summarise_agreement(records: Sequence[AgreementRecord], statistics: Statistics, seed: int) -> AgreementRow:
    """Summarise the records of one model, variant and case, of which there is at least one."""

    def average(name: str, values: Sequence[float]) -> dict[str, float]:
        return mean_interval(values, statistics.confidence, statistics.bootstrap_samples, seed).columns(name)

    values = [record.p_value for record in records if record.p_value is not None]
    disagreeing = rate_interval(sum(value < SIGNIFICANCE for value in values), len(values), statistics.confidence)
    chi_square = sum(record.chi_square for record in records if record.chi_square is not None)
    degrees_of_freedom = sum(record.degrees_of_freedom for record in records)
    p_value = float(stats.chi2.sf(chi_square, degrees_of_freedom)) if values else NAN
    return AgreementRow.model_validate(
        {
            "model": records[0].model,
            "variant": records[0].variant,
            "case_type": records[0].case,
            "num_samples": len(records),
            **average("avg_tvd_exact_sampled", [record.tvd_exact_sampled for record in records]),
            **average("avg_sampling_floor", [record.sampling_floor for record in records]),
            **average("avg_tvd", [record.tvd for record in records]),
            **average("avg_tvd_sampled", [record.tvd_sampled for record in records]),
            "chi_square": chi_square if values else NAN,
            "degrees_of_freedom": degrees_of_freedom,
            "p_value": p_value,
            "p_value_holm": p_value,
            **disagreeing.columns("disagreeing"),
        }
    )
