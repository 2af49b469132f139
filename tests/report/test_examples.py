"""One question of each case, as each model is asked it."""

from typing import Any

from outctl.report.examples import Example, examples
from outctl.report.steps import Step
from outctl.tasks.samples import Message, Sample


def sample(case: str, number: int) -> Sample:
    turns = [Message(role="system", content="One word."), Message(role="user", content=f"Question {number} of {case}")]
    return Sample(
        sample_id=f"{case}-eval-{number:05d}",
        case=case,
        messages=turns,
        words=["ark", "atom"],
        target=[0.7, 0.3],
        tolerance=0.1,
        seed=number,
    )


def evaluation(model: str, variant: str, case: str, **provenance: Any) -> Step:
    settings = {"model": model, "variant": variant, "case_name": case}
    return Step(
        "evaluate", f"{model} / {variant} / {case}", {"spec": {"settings": settings}} | provenance, None, None, None
    )


def test_the_first_question_of_each_case_stands_beside_what_each_model_is_shown() -> None:
    samples = {case: [sample(case, number) for number in range(3)] for case in ("one", "two")}
    steps = [
        evaluation("a", "baseline", "one", example_prompt="<a>One word.<q>Question 0 of one"),
        evaluation("a", "tuned", "one", example_prompt="the same"),
        evaluation("b", "baseline", "one", example_prompt="<b>Question 0 of one"),
        # An evaluation of an earlier version does not tell.
        evaluation("a", "baseline", "two"),
    ]
    assert examples(samples, steps) == [
        Example("one", "Question 0 of one", {"a": "<a>One word.<q>Question 0 of one", "b": "<b>Question 0 of one"}),
        Example("two", "Question 0 of two", {}),
    ]
