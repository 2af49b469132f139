"""What `outctl prompt` prints: the very prompt and forms that an evaluation measures."""

import json
from collections.abc import Callable

import pytest

from command_line import ByHand
from outctl.cli.interactive import prompt
from outctl.errors import OutctlError
from outctl.evaluation.questions import CaseQuestions
from outctl.inference.word_probabilities import outcome_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import read_samples

CASES = {
    "given": {"kind": "given_words", "train_samples": 32, "eval_samples": 12},
    "limits": {"kind": "suppression", "eval_samples": 3},
    "own": {"kind": "icl_random_words", "eval_samples": 2},
}


@pytest.mark.parametrize(("case", "number"), [("given", 0), ("given", 11), ("limits", 2), ("own", 1)])
def test_the_prompt_and_its_forms_are_those_that_are_measured(
    case: str,
    number: int,
    by_hand: Callable[..., ByHand],
    tiny_model: Callable[..., LoadedModel],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = by_hand(cases=CASES).plan
    loaded = tiny_model()
    sample = read_samples(plan.layout.samples(case, "eval"))[number]
    questions = CaseQuestions(loaded, [sample])
    (measured,) = outcome_questions(loaded.tokenizer, questions.prompts, [sample.outcomes])
    prompt("tiny", case, number, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["sample_id"] == sample.sample_id
    assert shown["text"] == questions.prompts[0].text
    assert tuple(token["id"] for token in shown["tokens"]) == measured.prompt
    found = [[tuple(token["id"] for token in form) for form in forms] for forms in shown["forms"].values()]
    assert [form for forms in found for form in forms] == [form for forms in measured.forms for form in forms]
    assert ("free" in shown) == (case == "limits")
    prompt("tiny", case, number)
    text = capsys.readouterr().out
    assert f"\n{shown['text']}\n" in text
    assert all(f"\n{word}: " in text for word in shown["forms"])
    prompt("tiny", case, number, tokens=True)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(f"{shown['tokens'][0]['id']:>8} ") for line in lines) > 0


def test_a_sample_that_there_is_not_is_one_line(by_hand: Callable[..., ByHand]) -> None:
    by_hand()
    with pytest.raises(OutctlError, match="--sample 12: the case given has 12 evaluation samples, 0 to 11"):
        prompt("tiny", "given", 12)
