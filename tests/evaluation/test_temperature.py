"""The fitted temperature: found again where it is known, against a search through all, and never worse than none."""

import math
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import pytest
import torch

from outctl.config.evaluations import Evaluation
from outctl.errors import OutctlError
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import Record
from outctl.evaluation.temperature import MOST_SAMPLES, fit_temperature
from outctl.metrics import divergences
from outctl.metrics.statistics import mean_interval
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Sample

TinyModel = Callable[..., LoadedModel]
BigramModel = Callable[..., LoadedModel]
START = "<|assistant|>"


def sample(number: int, words: list[str] | None, target: list[float]) -> Sample:
    return Sample(
        sample_id=f"case-train-{number:05d}",
        case="case",
        messages=[{"role": "user", "content": f"Say {number}" if number else "or"}],
        words=words,
        target=target,
        tolerance=0.1,
        seed=number,
    )


def mixed_samples() -> list[Sample]:
    """Samples of two and of three words."""
    words = [["ark", "a"], ["k", "an", "at"], ["atom", "m"]]
    targets = [[0.9, 0.1], [0.5, 0.25, 0.25], [0.3, 0.7]]
    return [sample(number, words[number % 3], targets[number % 3]) for number in range(1, 10)]


def asked(loaded: LoadedModel, samples: Sequence[Sample], temperature: float) -> list[Record]:
    questions = CaseQuestions(loaded, samples, temperature)
    return questions.measure(range(len(samples)), "tiny", "baseline", Evaluation())


def kls(loaded: LoadedModel, samples: Sequence[Sample], temperature: float) -> list[float]:
    values = []
    for record in asked(loaded, samples, temperature):
        log_p = torch.tensor(record.probabilities, dtype=torch.float64).log()
        values.append(divergences.kl(log_p, torch.tensor(record.target, dtype=torch.float64)).item())
    return values


def mean_kl(loaded: LoadedModel, samples: Sequence[Sample], temperature: float) -> float:
    return mean(kls(loaded, samples, temperature))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_the_targets_were_made_with_is_found(
    temperature: float, bigram_model: BigramModel
) -> None:
    """All mass is on the words, so that what the model answers at a temperature can be what is asked for."""
    loaded = bigram_model({START: {"ark": 0.5, "Ark": 0.1, "kan": 0.3, "atom": 0.1}})
    words = ["ark", "kan", "atom"]
    (record,) = asked(loaded, [sample(0, words, [0.4, 0.3, 0.3])], temperature)
    assert record.other_mass < 1e-5
    fit = fit_temperature(loaded, [sample(0, words, record.probabilities)])
    assert fit.temperature == pytest.approx(temperature, rel=0.01)
    assert fit.kl_after == pytest.approx(0.0, abs=1e-4)
    assert (fit.kl_before > 0.01) == (temperature != 1.0)


@pytest.mark.parametrize(("seed", "spread", "tokens_per_pass"), [(0, 0.1, None), (1, 0.3, 16), (2, 0.3, None)])
def test_no_other_temperature_is_better(
    seed: int, spread: float, tokens_per_pass: int | None, tiny_model: TinyModel
) -> None:
    loaded, samples = tiny_model(seed=seed, initializer_range=spread), mixed_samples()
    fit = fit_temperature(loaded, samples, tokens_per_pass)
    assert fit.samples == 9
    assert fit.kl_before == pytest.approx(mean_kl(loaded, samples, 1.0), abs=1e-4)
    assert fit.kl_after == pytest.approx(mean_kl(loaded, samples, fit.temperature), abs=1e-4)
    others = [mean_kl(loaded, samples, math.exp(step / 8)) for step in range(-23, 24)]
    assert fit.kl_after <= min(others) + 1e-4
    assert fit.kl_after <= fit.kl_before
    before, after = (mean_interval(kls(loaded, samples, value), 0.95, 1000, 0) for value in (1.0, fit.temperature))
    assert (fit.kl_before_low, fit.kl_before_high) == pytest.approx(before[1:], abs=1e-4)
    assert (fit.kl_after_low, fit.kl_after_high) == pytest.approx(after[1:], abs=1e-4)


def test_one_temperature_is_as_good_as_none_where_the_model_is_right(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.7, "kan": 0.3}})
    fit = fit_temperature(loaded, [sample(0, ["ark", "kan"], [0.7, 0.3])])
    assert fit.temperature == pytest.approx(1.0, abs=0.01)
    assert fit.kl_after <= fit.kl_before < 1e-5
    # A single sample has no interval.
    assert (fit.kl_before_low, fit.kl_before_high, fit.kl_after_low, fit.kl_after_high) == (None,) * 4


def test_of_two_minima_the_lower_one_is_found(bigram_model: BigramModel) -> None:
    """*ark* as one token has a high temperature, *Ark* behind a space, which leads by little, the lowest one."""
    others = [*"Aakmnorst.'", "an", "as", "at", "om", "kan", "atom"]
    behind = dict.fromkeys(others, 0.054) | {"Ark": 1 - 0.054 * len(others)}
    loaded = bigram_model({START: {" ": 0.62, "ark": 0.38}, " ": behind})
    samples = [sample(0, ["ark", "kan"], [1.0, 0.0])]
    lowest, low, high, highest = (mean_kl(loaded, samples, temperature) for temperature in (0.05, 0.2, 5.0, 20.0))
    assert lowest < high < min(low, highest)
    assert fit_temperature(loaded, samples).kl_after == pytest.approx(lowest, abs=1e-3)


def test_each_sample_is_computed_once(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    passes: list[Any] = []
    hook = loaded.model.register_forward_hook(lambda *call: passes.append(1))
    fit_temperature(loaded, mixed_samples())
    hook.remove()
    # What the prompts begin with, and the rest of all of them.
    assert len(passes) == 2


def test_samples_that_leave_the_words_to_the_model_are_refused(tiny_model: TinyModel) -> None:
    samples = [*mixed_samples(), sample(10, None, [0.7, 0.3])]
    with pytest.raises(OutctlError, match="case-train-00010: leaves the words to the model; a temperature is fitted"):
        fit_temperature(tiny_model(), samples)


@pytest.mark.parametrize("count", [0, MOST_SAMPLES + 1])
def test_too_many_samples_and_none_are_refused(count: int, tiny_model: TinyModel) -> None:
    with pytest.raises(OutctlError, match=f"on 1 to {MOST_SAMPLES} samples, not on {count}"):
        fit_temperature(tiny_model(), mixed_samples()[:1] * count)


def test_cases_are_asked_at_a_temperature(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.4, "kan": 0.2, "atom": 0.4}})
    samples = [sample(0, ["ark", "kan"], [0.6, 0.4]), sample(0, None, [0.6, 0.4])]
    given, own = asked(loaded, samples, 0.5)
    assert given.probabilities == pytest.approx([0.16 / 0.36, 0.04 / 0.36], abs=1e-5)
    assert own.words == ["ark", "atom"]
    assert own.probabilities == pytest.approx([0.16 / 0.36] * 2, abs=1e-5)
    assert given.top_tokens[0].probability == pytest.approx(0.16 / 0.36, abs=1e-5)
