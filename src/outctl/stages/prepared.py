"""What stages have in common that compute with a prepared model."""

from collections.abc import Collection
from typing import ClassVar

from outctl.config.models import EngineChoice, Precision, PromptOptions
from outctl.config.names import BASELINE, TEMPERATURE
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.stage import Stage

MODEL_PACKAGES = ("accelerate", "bitsandbytes", "jinja2", "peft", "tokenizers", "torch", "transformers")
"""What every such job uses."""


class Loading(PromptOptions):
    """How a prepared model is loaded and asked."""

    chat: bool
    precision: Precision
    engine: EngineChoice = "auto"


class ComputingStage(Stage):
    """A stage whose jobs compute with a prepared model, alone or with an adapter."""

    computes: ClassVar[bool] = True
    guarded: ClassVar[bool] = True

    def unused_packages(self, setup: Setup, names: Names) -> Collection[str]:
        """Those for weights in 4 bits, and for adapters, where there are none."""
        model, *variant = names[:2]
        unused = set() if setup.registry.models[model].precision == "nf4" else {"bitsandbytes"}
        return unused | ({"peft"} if variant in ([], [BASELINE], [TEMPERATURE]) else set())


def loading_of(setup: Setup, model: str) -> Loading:
    """How the registry says that a model is loaded and asked."""
    entry = setup.registry.models[model]
    return Loading.model_validate({name: getattr(entry, name) for name in Loading.model_fields})


def made_with(setup: Setup, model: str, variant: str) -> list[Job]:
    """The job that makes what a variant is asked with, beside the model."""
    if variant == BASELINE:
        return []
    if variant == TEMPERATURE:
        return [("fit-temperature", model)]
    return [("fetch-adapter" if variant in setup.existing else "finetune", model, variant)]


def prompt_tokens(setup: Setup, case: str) -> int:
    """Length of a case's prompt with its answer in tokens, estimated from its template at 3 characters a token."""
    template = setup.inputs.templates[case]
    turns = [
        template["system"] or "",
        *(turn for example in template["examples"] for turn in (example["user"], example["assistant"])),
    ]
    drawn = setup.experiment.cases[case].examples_drawn
    characters = sum(len(turn) for turn in turns) + (1 + drawn) * len(template["question"])
    return 30 + characters // 3 + 10 * drawn
