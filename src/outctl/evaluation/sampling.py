"""Do the answers that a model gives agree with the probabilities that were computed for it?

Answers are drawn from the model and counted, as studies must count that see a model through an API alone. In float32 the
counts are draws from the exact probabilities; models in narrower types round in every pass, and many draws show that.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import stats

from outctl import divergences
from outctl.config import Evaluation, Statistics
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import ROUNDING, Progress, Record, Share
from outctl.evaluation.statistics import Array, mean_interval, rate_interval
from outctl.files import read_rows, write_jsonl
from outctl.inference.sampling import classify, sample_answers
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Sample

EXPECTED = 5.0
"""Least expected count of an outcome in the chi-square test (Cochran 1954, doi 10.2307/3001616)."""
SIGNIFICANCE = 0.05
"""Level below which a sample's counts disagree: one in twenty does by chance."""
Count = Annotated[int, Field(ge=0)]


class AgreementRecord(BaseModel):
    """One sample's answers, counted, beside its exact probabilities. Undefined numbers are null."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

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
    """Probability that draws from the exact probabilities are as far from them; null where the statistic is."""
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


class AgreementRow(BaseModel):
    """What the agreement of a model, variant and case amounts to. Undefined numbers are NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str
    """The model."""
    variant: str
    """`baseline`, or an adapter."""
    case_type: str
    """The case."""
    num_samples: int
    """Number of samples."""
    avg_tvd_exact_sampled: float
    """Mean total variation distance between frequencies and exact probabilities."""
    avg_tvd_exact_sampled_low: float
    """Lower end of its bootstrap interval."""
    avg_tvd_exact_sampled_high: float
    """Upper end of its bootstrap interval."""
    avg_sampling_floor: float
    """Mean of what that distance is on average for draws from the exact probabilities."""
    chi_square: float
    """Sum of the samples' statistics."""
    degrees_of_freedom: int
    """Sum of their degrees of freedom."""
    p_value: float
    """Probability that draws from the exact probabilities are as far from them, over all samples."""
    disagreeing: float
    """Share of samples with a p-value below 0.05, of those with one: 0.05 is expected."""
    disagreeing_low: float
    """Lower end of its Wilson interval."""
    disagreeing_high: float
    """Upper end of its Wilson interval."""


def write_agreement(path: Path, records: Iterable[AgreementRecord]) -> None:
    """Write records, one a line."""
    write_jsonl(path, (record.model_dump(mode="json") for record in records))


def read_agreement(path: Path) -> list[AgreementRecord]:
    """Read the records of a file, which are all of one model, variant and case.

    Raises:
        OutctlError: the file is missing or empty, a line is no record, or records do not belong together.
    """
    return read_rows(path, AgreementRecord, "sample_id", ["model", "variant", "case"], "draw the answers again")


def measure_agreement(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    model: str,
    variant: str,
    evaluation: Evaluation,
    draws: int,
    seed: int,
    progress: Progress | None = None,
) -> list[AgreementRecord]:
    """Measure samples exactly, draw answers to each, and compare the two.

    Args:
        loaded: the model, which `enable_trees` has seen.
        samples: questions of one case. Where the model picks the words, they are those that the exact search finds.
        model: name of the model, for the records.
        variant: name of the variant, for the records.
        evaluation: how models are asked.
        draws: answers to draw for each sample.
        seed: seed of the draws.
        progress: called as samples are done.

    Returns:
        One record a sample, in their order.

    Raises:
        OutctlError: the model answers a sample with fewer words than it asks for.
    """
    asked = CaseQuestions(loaded, samples)
    exact = asked.measure(range(len(samples)), model, variant, evaluation)
    questions = word_questions(loaded.tokenizer, asked.prompts, [record.words for record in exact])
    size = loaded.model.get_input_embeddings().weight.shape[0]
    continuations = word_continuations(loaded.tokenizer, size)
    drawn = sample_answers(loaded.model, questions, draws, seed, evaluation.tokens_per_pass)
    found = []
    for record, question, answers in zip(exact, questions, drawn, strict=True):
        numbers = [classify(answer, question.forms, continuations) for answer in answers]
        found.append(compare(record, [numbers.count(number) for number in range(len(record.words))], draws))
        if progress:
            progress(len(found), len(samples))
    return found


def compare(record: Record, counts: Sequence[int], draws: int) -> AgreementRecord:
    """Compare the counts of a sample's words, among so many answers, with what was measured exactly."""
    observed = np.array([*counts, draws - sum(counts)], dtype=np.float64)
    exact = np.array([*record.probabilities, record.other_mass])
    # Probabilities that were computed in float32 sum to 1 but for rounding, which the test does not take.
    exact /= exact.sum()
    chi_square, degrees_of_freedom = pooled_chi_square(observed, exact * draws)
    frequencies = torch.tensor(counts, dtype=torch.float64) / draws
    target = torch.tensor(record.target, dtype=torch.float64)
    return AgreementRecord(
        sample_id=record.sample_id,
        case=record.case,
        model=record.model,
        variant=record.variant,
        words=record.words,
        target=record.target,
        probabilities=record.probabilities,
        other_mass=record.other_mass,
        draws=draws,
        counts=list(counts),
        other_count=draws - sum(counts),
        chi_square=chi_square,
        degrees_of_freedom=degrees_of_freedom,
        p_value=None if chi_square is None else float(stats.chi2.sf(chi_square, degrees_of_freedom)),
        tvd_exact_sampled=0.5 * float(np.abs(observed / draws - exact).sum()),
        sampling_floor=sampling_floor(exact, draws),
        tvd=record.tvd,
        tvd_sampled=divergences.tvd(frequencies.log(), target).item(),
    )


def pooled_chi_square(observed: Array, expected: Array) -> tuple[float | None, int]:
    """Pearson's chi-square statistic of counts, and its degrees of freedom.

    The rarest outcomes count as one, so many of them that each outcome's expected count is at least `EXPECTED`: below
    that the statistic does not follow its distribution (Cochran's rule).

    Args:
        observed: count of each outcome.
        expected: expected count of each, with the same sum.

    Returns:
        The statistic, None with 0 degrees of freedom where fewer than two outcomes are left.
    """
    order = np.argsort(expected, kind="stable")
    sums = np.cumsum(expected[order])
    pooled = max(int((expected < EXPECTED).sum()), int((sums < EXPECTED).sum()) + 1)
    starts = [0, *range(pooled, len(order))]
    if len(starts) < 2:
        return None, 0
    statistic, _ = stats.chisquare(np.add.reduceat(observed[order], starts), np.add.reduceat(expected[order], starts))
    return float(statistic), len(starts) - 1


def sampling_floor(probabilities: Array, draws: int) -> float:
    """Expected total variation distance between a distribution and the frequencies of so many draws from it.

    It is ½ sum_i E|X_i / n - p_i| with X_i binomial, and E|X - n p| = 2 v (1 - p) P(X = v) for v = floor(n p) + 1.
    Source: De Moivre 1730, after Diaconis and Zabell 1991, doi 10.1214/ss/1177011699.
    """
    least = np.floor(draws * probabilities) + 1.0
    deviations = 2.0 * least * (1.0 - probabilities) * stats.binom.pmf(least, draws, probabilities)
    return 0.5 * float(deviations.sum()) / draws


def summarise_agreement(records: Sequence[AgreementRecord], statistics: Statistics, seed: int) -> AgreementRow:
    """Summarise the records of one model, variant and case, of which there is at least one."""
    distance = mean_interval(
        [record.tvd_exact_sampled for record in records], statistics.confidence, statistics.bootstrap_samples, seed
    )
    values = [record.p_value for record in records if record.p_value is not None]
    disagreeing = rate_interval(sum(value < SIGNIFICANCE for value in values), len(values), statistics.confidence)
    chi_square = sum(record.chi_square for record in records if record.chi_square is not None)
    degrees_of_freedom = sum(record.degrees_of_freedom for record in records)
    return AgreementRow(
        model=records[0].model,
        variant=records[0].variant,
        case_type=records[0].case,
        num_samples=len(records),
        avg_tvd_exact_sampled=distance.value,
        avg_tvd_exact_sampled_low=distance.low,
        avg_tvd_exact_sampled_high=distance.high,
        avg_sampling_floor=float(np.mean([record.sampling_floor for record in records])),
        chi_square=chi_square if values else float("nan"),
        degrees_of_freedom=degrees_of_freedom,
        p_value=float(stats.chi2.sf(chi_square, degrees_of_freedom)) if values else float("nan"),
        disagreeing=disagreeing.value,
        disagreeing_low=disagreeing.low,
        disagreeing_high=disagreeing.high,
    )
