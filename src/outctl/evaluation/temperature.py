"""The best that a single temperature can do for a model: a control for training.

A temperature divides all logits. It cannot tell one question from another, so whatever it gains is gained without reading
what was asked.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import minimize_scalar

from outctl.errors import OutctlError
from outctl.evaluation.questions import CaseQuestions
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import (
    logits_below,
    split_by_size,
    word_log_probabilities,
    word_questions,
)
from outctl.metrics.divergences import kl
from outctl.metrics.statistics import CONFIDENCE, RESAMPLES, mean_interval
from outctl.models.loading import LoadedModel
from outctl.storage.files import StrictRow
from outctl.tasks.samples import Sample

HIGHEST = 20.0
"""Temperatures are sought from its reciprocal to it."""
STEPS = 25
"""Temperatures tried before the search, evenly in their logarithm: an odd number, so that 1 is the middle one."""
MOST_SAMPLES = 128
"""Samples at most: the logits of all of them are kept, some 10 rows of the vocabulary each, or 6 MB of 150 000 tokens."""


class TemperatureFit(StrictRow):
    """A temperature, and what it does for the samples that it was fitted on.

    Intervals are bootstrap intervals over these samples, of 95 % and 1000 resamples; null for a single one.
    """

    temperature: float = Field(gt=0.0)
    """What to divide the logits by."""
    kl_before: float
    """Mean KL(target || words' probabilities) at temperature 1."""
    kl_before_low: float | None
    """Lower end of its interval."""
    kl_before_high: float | None
    """Upper end of its interval."""
    kl_after: float
    """The same at the fitted temperature; never larger."""
    kl_after_low: float | None
    """Lower end of its interval, at that temperature: what choosing another one for other samples adds is not in it."""
    kl_after_high: float | None
    """Upper end of its interval."""
    samples: int = Field(ge=1)
    """Number of samples."""


@torch.inference_mode()
def fit_temperature(
    loaded: LoadedModel, samples: Sequence[Sample], tokens_per_pass: int | None = None
) -> TemperatureFit:
    """Find the temperature with the least mean KL(target || words' probabilities); each sample is computed once.

    The mean may have several minima: temperatures over the whole range are tried first, and the search goes on between the
    neighbours of the best one.

    Args:
        loaded: the model, whose engine is chosen.
        samples: training samples of cases that give their words, at most `MOST_SAMPLES`.
        tokens_per_pass: largest number of tree nodes in a forward pass; as many as fit into memory if None.

    Raises:
        OutctlError: there are no samples or too many, or one leaves the words to the model.
    """
    if not 1 <= len(samples) <= MOST_SAMPLES:
        raise OutctlError(f"a temperature is fitted on 1 to {MOST_SAMPLES} samples, not on {len(samples)}")
    words = [_words(sample) for sample in samples]
    asked = CaseQuestions(loaded, samples)
    questions = word_questions(loaded.tokenizer, asked.prompts, words)
    runs = split_by_size(questions, tokens_per_pass or tokens_that_fit(loaded.model), asked.beginning.tree)
    passes = [
        part for run in runs for part in split_on_out_of_memory(run, lambda some: [logits_below(asked.beginning, some)])
    ]
    size = loaded.model.get_input_embeddings().weight.shape[0]
    continuations = word_continuations(loaded.tokenizer, size).to(loaded.model.device)
    targets = [torch.tensor(sample.target, dtype=torch.float64) for sample in samples]

    def divergences_at(log_temperature: float) -> list[float]:
        temperature = math.exp(log_temperature)
        rows = [
            row
            for layout, logits in passes
            for row in word_log_probabilities(logits / temperature, layout, continuations).double().cpu()
        ]
        # Rows of samples that have fewer words than others of their pass are padded.
        return [kl(row[: len(wanted)], wanted).item() for row, wanted in zip(rows, targets, strict=True)]

    def mean_kl(log_temperature: float) -> float:
        return float(np.mean(divergences_at(log_temperature)))

    tried = np.linspace(-math.log(HIGHEST), math.log(HIGHEST), STEPS)
    values = [mean_kl(value) for value in tried]
    best = int(np.argmin(values))
    bounds = (tried[max(best - 1, 0)], tried[min(best + 1, STEPS - 1)])
    found = minimize_scalar(mean_kl, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    # The search does not look at its bounds, nor at what it begins with.
    least, fitted = min((values[best], tried[best]), (found.fun, found.x))
    intervals: dict[str, float | None] = {}
    for name, mean, log_temperature in (("kl_before", values[STEPS // 2], 0.0), ("kl_after", least, fitted)):
        interval = mean_interval(divergences_at(log_temperature), CONFIDENCE, RESAMPLES, seed=0)
        ends = {f"{name}_low": interval.low, f"{name}_high": interval.high}
        intervals |= {name: float(mean)} | {end: None if math.isnan(value) else value for end, value in ends.items()}
    return TemperatureFit.model_validate(intervals | {"temperature": math.exp(fitted), "samples": len(samples)})


def _words(sample: Sample) -> list[str]:
    if sample.words is None:
        raise OutctlError(
            f"{sample.sample_id}: leaves the words to the model; a temperature is fitted on cases that give their words"
        )
    return sample.words
