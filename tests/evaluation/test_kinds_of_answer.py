"""Every vocabulary and kind of answer, drawn as evaluation draws it, on the embedded model against plain passes."""

import math
from typing import Any

import pytest
import torch
from plain_inference import plain_log_probability
from pydantic import TypeAdapter

from outctl.config import CaseConfig, Evaluation
from outctl.evaluation.questions import CaseQuestions
from outctl.inference.prompts import build_prompts
from outctl.models.loading import LoadedModel
from outctl.tasks.cases import draw_samples
from outctl.tasks.templates import load_template
from outctl.tasks.vocabularies import listed_words

KINDS: dict[str, dict[str, Any]] = {
    **{name: {"vocabulary": name, "eval_fraction": 0.5} for name in ("letters", "digits", "symbols", "names")},
    "phrases": {"vocabulary": "phrases", "vocabulary_size": 2000},
    "five words": {"num_words": 5},
    "few-shot": {"template": "given_words_examples"},
    "successive words": {"kind": "successive_words"},
    "suppression": {"kind": "suppression"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_its_probabilities_are_those_of_plain_passes(kind: str, real_model: LoadedModel) -> None:
    options = {"kind": "given_words", "eval_samples": 1, **KINDS[kind]}
    case: Any = TypeAdapter(CaseConfig).validate_python(options)
    template = load_template(options.get("template", case.kind))
    listed = listed_words(options.get("vocabulary", "common"))
    samples = list(draw_samples(case, template, "case", "eval", 1, 0, listed))
    (record,) = CaseQuestions(real_model, samples).measure([0], "model", "baseline", Evaluation())
    (prompt,) = build_prompts(real_model.tokenizer, [samples[0].messages], real_model.chat)
    with torch.no_grad():
        expected = [
            sum(
                math.exp(plain_log_probability(real_model.model, real_model.tokenizer, prompt, answer).item())
                for answer in outcome
            )
            for outcome in samples[0].outcomes
        ]
    assert record.probabilities == pytest.approx(expected, abs=1e-5)
