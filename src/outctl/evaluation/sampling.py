"""Do the answers that a model gives agree with the probabilities that were computed for it?

Answers are drawn from the model and counted, as studies must count that see a model through an API alone. In float32 the
counts are draws from the exact probabilities. Models in narrower types round in every pass, and many draws show that: of
them there is a distance and no test.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats

from outctl.config.evaluations import Evaluation
from outctl.evaluation.agreement import AgreementRecord
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import Progress, Record
from outctl.inference.sampling import classify, sample_answers
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import word_questions
from outctl.metrics.divergences import tvd
from outctl.metrics.statistics import Array
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Sample

EXPECTED = 5.0
"""Least expected count of an outcome in the chi-square test (Cochran 1954, doi 10.2307/3001616)."""


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
        loaded: the model, whose engine is chosen.
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
    is_precise = loaded.description["compute_dtype"] == "float32"
    drawn = sample_answers(loaded.model, questions, draws, seed, evaluation.tokens_per_pass)
    found = []
    for record, question, answers in zip(exact, questions, drawn, strict=True):
        numbers = [classify(answer, question.forms, continuations) for answer in answers]
        counts = [numbers.count(number) for number in range(len(record.words))]
        found.append(compare(record, counts, draws, is_precise))
        if progress:
            progress(len(found), len(samples))
    return found


def compare(record: Record, counts: Sequence[int], draws: int, is_precise: bool = True) -> AgreementRecord:
    """Compare the counts of a sample's words, among so many answers, with what was measured exactly.

    Args:
        record: what was measured.
        counts: answers that are each word.
        draws: answers in all.
        is_precise: whether both were computed in a type in which rounding is beyond what so many draws can tell.
    """
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
        p_value=None if chi_square is None or not is_precise else float(stats.chi2.sf(chi_square, degrees_of_freedom)),
        tvd_exact_sampled=0.5 * float(np.abs(observed / draws - exact).sum()),
        sampling_floor=sampling_floor(exact, draws),
        tvd=record.tvd,
        tvd_sampled=tvd(frequencies.log(), target).item(),
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
