"""Questions with several answers for one word, and with a limit, put to a tiny model and read off plain passes."""

import math
from collections.abc import Callable

import pytest
from plain_inference import plain_log_probability

from outctl.config.evaluations import Evaluation
from outctl.evaluation.questions import CaseQuestions
from outctl.inference.prompts import build_prompts
from outctl.inference.word_search import WordSearch
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message, Sample


def limited(number: int, word: str, others: list[str]) -> Sample:
    return Sample(
        sample_id=f"case-eval-{number}",
        case="case",
        messages=[Message(role="user", content=f"Name one. Say {word} at most {number}% of the time.")],
        words=[word, "another"],
        answers=[[word], others],
        target=[number / 100, 1 - number / 100],
        at_most=True,
        free_messages=[Message(role="user", content="Name one.")],
        tolerance=0.1,
        seed=number,
    )


def test_answers_of_a_word_are_summed_and_the_free_question_is_asked_too(
    tiny_model: Callable[..., LoadedModel],
) -> None:
    loaded = tiny_model()
    samples = [limited(10, "ark", ["atom", "mast", "rat"]), limited(40, "rat", ["ark", "atom"])]
    records = CaseQuestions(loaded, samples).measure([0, 1], "tiny", "baseline", Evaluation())
    for sample, record in zip(samples, records, strict=True):
        expected = {}
        for name, messages in (("asked", sample.messages), ("free", sample.free_messages)):
            (prompt,) = build_prompts(loaded.tokenizer, [messages], loaded.chat)
            expected[name] = [
                sum(
                    plain_log_probability(loaded.model, loaded.tokenizer, prompt, answer).exp().item()
                    for answer in answers
                )
                for answers in sample.outcomes
            ]
        assert record.probabilities == pytest.approx(expected["asked"], rel=1e-4)
        assert record.free_share == pytest.approx(expected["free"][0] / sum(expected["free"]), rel=1e-4)
        assert not math.isclose(expected["free"][0], expected["asked"][0], rel_tol=1e-3)


def test_records_say_whether_the_models_own_words_are_proven(
    tiny_model: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = limited(10, "ark", ["atom"]).model_copy(
        update={"words": None, "answers": None, "at_most": False, "free_messages": None}
    )
    asked = CaseQuestions(tiny_model(), [sample, limited(10, "ark", ["atom"])])
    (own, given) = asked.measure([0, 1], "tiny", "baseline", Evaluation())
    assert (own.search_complete, given.search_complete) == (True, None)
    monkeypatch.setattr(WordSearch, "is_proven", lambda self: self.likeliest() is None)
    (own,) = asked.measure([0], "tiny", "baseline", Evaluation())
    assert own.search_complete is False
