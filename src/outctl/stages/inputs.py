"""What the files say that a configuration names: templates, lists of words, and texts."""

from pathlib import Path
from typing import Any

from outctl.config.experiment import Experiment
from outctl.config.names import DEVIATION
from outctl.errors import KeyedError, OutctlError
from outctl.pipeline.setup import SPLITS, Inputs
from outctl.tasks.cases import try_template
from outctl.tasks.excerpts import excerpt_texts
from outctl.tasks.lists import listed_words
from outctl.tasks.neutral import held_out_texts
from outctl.tasks.templates import load_template


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
            try_template(case, template)
        except OutctlError as error:
            raise KeyedError(("cases", name, "template"), str(error)) from None
        templates[name] = template.model_dump(mode="json")
    return templates


def _vocabularies(experiment: Experiment) -> dict[str, list[str] | None]:
    """The listed words of each case; None where they are the most common ones, or the case draws none."""
    vocabularies: dict[str, list[str] | None] = {}
    for name, case in experiment.cases.items():
        try:
            words = None if case.draws_from is None else listed_words(case.draws_from)
            vocabularies[name] = None if words is None else list(words)
            for split in SPLITS:
                if words and (split == "eval" or case.train_samples):
                    case.check_words(words, experiment.seed, split)
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
