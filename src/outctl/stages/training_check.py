"""What is checked of recipes before any job trains one: that enough of their samples is left to train on."""

from outctl.config.adapters import AdapterRecipe
from outctl.errors import NOTE, OutctlError
from outctl.finetune.held_out import few_left, per_case
from outctl.pipeline.plan import Plan
from outctl.stages.make_samples import first_samples
from outctl.tasks.samples import Sample

SAFE = 0.05
"""Share of a vocabulary that samples kept back may name before all are drawn, to see how many are left."""


def training_notes(plan: Plan) -> list[str]:
    """A line on each recipe that is about to be trained on less than half of its samples.

    Raises:
        OutctlError: too few are left for an optimiser step of one of them.
    """
    drawn: dict[tuple[str, int], list[Sample]] = {}
    notes: dict[str, str] = {}
    for adapter, recipe in plan.recipes.items():
        if all(_is_current(plan, model, adapter) for model in plan.models):
            continue
        try:
            if _few_words(plan, recipe) and (note := few_left(_samples(plan, recipe, drawn), recipe)):
                notes[adapter] = note
        except OutctlError as error:
            raise OutctlError(f"adapters.{adapter}: {error}") from None
    return [f"{NOTE}adapters.{adapter}: {note}" for adapter, note in notes.items()]


def _is_current(plan: Plan, model: str, adapter: str) -> bool:
    job = ("finetune", model, adapter)
    found = plan.found.get(job)
    return found is not None and found.spec_hash == plan.spec(*job).hash


def _samples(plan: Plan, recipe: AdapterRecipe, drawn: dict[tuple[str, int], list[Sample]]) -> list[list[Sample]]:
    chosen = sorted(recipe.cases.items())
    for case, count in chosen:
        if (case, count) not in drawn:
            drawn[case, count] = first_samples(plan, case, count, "train")
    return [drawn[one] for one in chosen]


def _few_words(plan: Plan, recipe: AdapterRecipe) -> bool:
    """Whether samples kept back are many, or may name so many of a case's words that many others share one.

    Long lists are told by their length, as it takes a second to draw thousands of samples.
    """
    share = per_case(recipe.held_out_samples, len(recipe.cases))
    if share * len(recipe.cases) + recipe.samples_per_step > sum(recipe.cases.values()) / 2:
        return True
    for case in recipe.cases:
        config = plan.experiment.cases[case]
        if config.picks_words:
            continue
        listed = plan.inputs.vocabularies[case]
        size = getattr(config, "vocabulary_size", 0) if listed is None else len(listed)
        # Phrases are of two words.
        named = share * 2 * getattr(config, "num_words", 2)
        if named > SAFE * size * (1 - getattr(config, "eval_fraction", 0.0)):
            return True
    return False
