"""Every vocabulary, wording and kind of answer, drawn as evaluation draws it, against plain passes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_inference import plain_log_probability
from pydantic import TypeAdapter

from outctl.config.evaluations import Evaluation
from outctl.config.registries import CaseConfig
from outctl.evaluation.questions import CaseQuestions
from outctl.inference.prompts import build_prompts
from outctl.models.loading import LoadedModel
from outctl.tasks.cases import draw_samples
from outctl.tasks.lists import listed_words
from outctl.tasks.templates import load_template, template_names

KINDS: dict[str, dict[str, Any]] = {
    **{name: {"vocabulary": name, "eval_fraction": 0.5} for name in ("letters", "digits", "symbols", "names")},
    "phrases": {"vocabulary": "phrases", "vocabulary_size": 2000},
    "five words": {"num_words": 5},
    "few-shot": {"template": "given_words_examples"},
    "successive words": {"kind": "successive_words"},
    "suppression": {"kind": "suppression"},
}
WORDINGS: dict[str, dict[str, Any]] = {
    **{name: {"template": name} for name in template_names() if name.startswith("given_words_")},
    "a gap": {"percents": {"gap": {"min": 35, "max": 65}}},
    "extremes": {"percents": {"min": 1, "max": 99, "step": 1, "gap": {"min": 5, "max": 95}}},
    "three words": {"num_words": 3},
    "four words": {"num_words": 4},
}


def measured_and_plain(options: dict[str, Any], loaded: LoadedModel) -> tuple[list[float], list[float]]:
    """Probabilities of a sample's outcomes as they are recorded, and by one pass a surface form."""
    options = {"kind": "given_words", "eval_samples": 1, **options}
    case: Any = TypeAdapter(CaseConfig).validate_python(options)
    template = load_template(options.get("template", case.kind))
    listed = listed_words(options.get("vocabulary", "common"))
    samples = list(draw_samples(case, template, "case", "eval", 1, 0, listed))
    (record,) = CaseQuestions(loaded, samples).measure([0], "model", "baseline", Evaluation())
    (prompt,) = build_prompts(loaded.tokenizer, [samples[0].messages], loaded.chat)
    with torch.no_grad():
        expected = [
            sum(
                math.exp(plain_log_probability(loaded.model, loaded.tokenizer, prompt, answer).item())
                for answer in outcome
            )
            for outcome in samples[0].outcomes
        ]
    return record.probabilities, expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_models_probabilities_are_those_of_plain_passes(kind: str, real_model: LoadedModel) -> None:
    found, expected = measured_and_plain(KINDS[kind], real_model)
    assert found == pytest.approx(expected, abs=1e-5)


# The tiny tokenizer knows no symbols.
@pytest.mark.parametrize("kind", [kind for kind in KINDS | WORDINGS if kind != "symbols"])
def test_a_tiny_models_probabilities_are_those_of_plain_passes(
    kind: str, tiny_model: Callable[..., LoadedModel]
) -> None:
    found, expected = measured_and_plain((KINDS | WORDINGS)[kind], tiny_model(max_position_embeddings=4096))
    assert found == pytest.approx(expected, rel=1e-4)
    assert min(found) > 0.0
