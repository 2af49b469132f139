"""One question of each case, as the models are asked it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from outctl.config.names import BASELINE
from outctl.report.steps import Step
from outctl.tasks.samples import Sample


class Example(NamedTuple):
    """The first question of a case.

    Attributes:
        case: the case.
        question: its last turn.
        prompts: all that a model is shown, by model; empty where the run does not tell.
    """

    case: str
    question: str
    prompts: dict[str, str]


def examples(samples: Mapping[str, Sequence[Sample]], steps: Sequence[Step]) -> list[Example]:
    """The first question of each case."""
    found = {case: Example(case, own[0].messages[-1]["content"], {}) for case, own in samples.items()}
    for step in steps:
        text = step.provenance.get("example_prompt")
        if step.stage == "evaluate" and text is not None and step.settings["variant"] == BASELINE:
            found[step.settings["case_name"]].prompts[step.settings["model"]] = text
    return list(found.values())
