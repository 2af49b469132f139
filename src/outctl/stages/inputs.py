"""What the files say that a configuration names: templates, lists of words, and texts."""

from pathlib import Path
from typing import Any

from outctl.config.schema import (
    DEVIATION,
    CaseConfig,
    Experiment,
    GivenWords,
    SuccessiveWords,
    Suppression,
)
from outctl.errors import KeyedError, OutctlError
from outctl.pipeline.setup import SPLITS, Inputs
from outctl.tasks.excerpts import excerpt_texts
from outctl.tasks.neutral import held_out_texts
from outctl.tasks.shares import named_shares
from outctl.tasks.splits import words_of_split
from outctl.tasks.templates import load_template, render
from outctl.tasks.vocabularies import listed_words


def read_inputs(experiment: Experiment) -> Inputs:
    """What an experiment's files say.

    Raises:
        KeyedError: a template is missing or does not fit its case, or a vocabulary is missing or too small.
        OutctlError: a text of the user's cannot be read.
    """
    return Inputs(_templates(experiment), _vocabularies(experiment), _texts(experiment))


def _templates(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Template of each case, tried out."""
    templates = {}
    for name, case in experiment.cases.items():
        try:
            template = load_template(case.template or case.kind)
            variables = _example_variables(case)
            render(template.question, **variables)
            if case.kind == "suppression":
                if template.free is None:
                    raise OutctlError("the template has no `free`, the question without a limit")
                render(template.free, **variables)
            if case.kind == "icl_random_words":
                if template.answer is None:
                    raise OutctlError("the template has no `answer`, which answered examples need")
                render(template.answer, word="ark", **variables)
        except OutctlError as error:
            raise KeyedError(("cases", name, "template"), str(error)) from None
        templates[name] = template.model_dump(mode="json")
    return templates


def _example_variables(case: CaseConfig) -> dict[str, Any]:
    """Variables of some sample of a case, to try its template out."""
    two = named_shares(["ark", "atom"], [70, 30])
    match case:
        case GivenWords():
            return {"shares": named_shares(["ark"] * case.num_words, [50] * case.num_words)}
        case SuccessiveWords():
            return {"first": two, "second": two}
        case Suppression():
            return {"topic": "a ship", "word": "ark", "percent": 30}
        case _:
            return {"seed": 1, "percents": [70, 30]}


def _vocabularies(experiment: Experiment) -> dict[str, list[str] | None]:
    """The listed words of each case that draws words; None where they are the most common ones."""
    vocabularies: dict[str, list[str] | None] = {}
    for name, case in experiment.cases.items():
        if isinstance(case, GivenWords):
            try:
                words = listed_words(case.vocabulary)
                vocabularies[name] = None if words is None else list(words)
                for split in SPLITS:
                    if words and (split == "eval" or case.train_samples):
                        words_of_split(case, experiment.seed, split, words)
            except OutctlError as error:
                raise KeyedError(("cases", name, "vocabulary"), str(error)) from None
    return vocabularies


def _texts(experiment: Experiment) -> dict[str, dict[str, str]]:
    """The texts that `base_model_deviation` takes excerpts from, and those that `retention` reads, by their names."""
    deviation, retention = experiment.base_model_deviation, experiment.retention
    return {
        DEVIATION: excerpt_texts([Path(file) for file in deviation.files]) if deviation else {},
        "retention": held_out_texts([Path(file) for file in retention.files]) if retention else {},
    }
