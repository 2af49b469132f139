"""Which training samples are kept back to measure on, and which are left to train on."""

from collections.abc import Sequence

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError
from outctl.finetune.targets import with_targets
from outctl.tasks.samples import Sample
from outctl.tasks.spelling import without_capitals

FEW = 0.5
"""Share of a recipe's samples; where fewer are left to train on, planning says so."""


def divided(samples: Sequence[Sequence[Sample]], recipe: AdapterRecipe) -> tuple[list[Sample], list[Sample]]:
    """The samples to train on, with the recipe's targets, and those that are kept back to measure on.

    Args:
        samples: those of each case of the recipe.
        recipe: the recipe.

    Raises:
        OutctlError: too few are left for an optimiser step.
    """
    to_train, held_out = split_held_out(samples, recipe.held_out_samples)
    to_train = with_targets(to_train, recipe.targets, recipe.seed)
    if len(to_train) < recipe.samples_per_step:
        step = f"batch_size: {recipe.batch_size}"
        if recipe.gradient_accumulation_steps > 1:
            step = (
                f"the {recipe.samples_per_step} of a step "
                f"({step} times gradient_accumulation_steps: {recipe.gradient_accumulation_steps})"
            )
        raise OutctlError(
            f"{len(to_train)} samples are left to train on, fewer than {step}; "
            "ask for more samples, keep back fewer, or lower the batch size"
        )
    return to_train, held_out


def split_held_out(cases: Sequence[Sequence[Sample]], count: int) -> tuple[list[Sample], list[Sample]]:
    """Keep the first samples of each case back, `count` in all, and leave out of training what shares a word with them.

    Returns:
        The samples to train on, and those kept back.

    Raises:
        OutctlError: of one of the cases nothing is left to train on.
    """
    share = per_case(count, len(cases))
    held_out = [sample for samples in cases for sample in samples[:share]]
    words = set().union(*map(named_words, held_out))
    to_train: list[Sample] = []
    for samples in cases:
        rest = [sample for sample in samples[share:] if not words & named_words(sample)]
        if not rest:
            kept_back = f"held_out_samples: {count} keeps back {len(samples[:share])} of its {len(samples)}"
            raise OutctlError(
                f"no sample of {samples[0].case} is left to train on: {kept_back}, and the others share a word with these; "
                "keep back fewer, ask for more samples or take a larger vocabulary"
            )
        to_train += rest
    return to_train, held_out


def per_case(count: int, cases: int) -> int:
    """How many samples of each case are kept back, of `count` in all."""
    return -(-count // cases)


def named_words(sample: Sample) -> set[str]:
    """The single words that a question names, without capitals; under a limit the first, as the second is all other answers."""
    named = sample.words or []
    return {without_capitals(word) for words in named[: 1 if sample.at_most else None] for word in words.split()}


def few_left(samples: Sequence[Sequence[Sample]], recipe: AdapterRecipe) -> str | None:
    """A line where a recipe trains on less than half of the samples that it asks for; None elsewhere.

    Raises:
        OutctlError: too few are left for an optimiser step.
    """
    to_train, held_out = divided(samples, recipe)
    total = sum(map(len, samples))
    if len(to_train) >= FEW * total:
        return None
    return (
        f"trains on {len(to_train)} of its {total} samples: {len(held_out)} are held back, and "
        f"{total - len(to_train) - len(held_out)} share a word with those; take a larger vocabulary, or lower held_out_samples"
    )
