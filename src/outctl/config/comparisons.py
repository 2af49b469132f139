"""What results compare: every variant with the baseline, and what the configuration names."""

from collections.abc import Sequence
from typing import NamedTuple

from outctl.config.cases import Case
from outctl.config.experiment import Experiment
from outctl.config.names import BASELINE
from outctl.config.reading import nearest
from outctl.errors import KeyedError


class Compare(NamedTuple):
    """A comparison, paired by sample: a variant's answers to a case, and what they are held against."""

    variant: str
    case: str
    against_variant: str
    against_case: str


def all_comparisons(experiment: Experiment, variants: Sequence[str], adapters: Sequence[str]) -> list[Compare]:
    """The comparisons of an experiment.

    Args:
        experiment: the configuration.
        variants: all variants, in the order of the tables.
        adapters: those of them that are adapters.

    Raises:
        KeyedError: an adapter or case that is named is none, or two cases do not ask the same.
    """
    cases, found = list(experiment.cases), []
    for case in cases:
        found += [Compare(name, case, BASELINE, case) for name in variants if name != BASELINE]
    for adapter, others in experiment.comparisons.adapters.items():
        for key, name in ((("adapters", adapter), adapter), *((("adapters", adapter), name) for name in others)):
            if name not in adapters:
                hint = nearest(name, list(adapters))
                raise KeyedError(("comparisons", *key), f"there is no adapter {name!r}; {hint}")
        found += [Compare(adapter, case, other, case) for other in others for case in cases]
    for case, other in experiment.comparisons.cases.items():
        for name in (case, other):
            if name not in experiment.cases:
                raise KeyedError(("comparisons", "cases", case), f"there is no case {name!r}; {nearest(name, cases)}")
        apart = _asked_apart(experiment.cases[case], experiment.cases[other])
        if apart:
            raise KeyedError(
                ("comparisons", "cases", case), f"{case!r} and {other!r} ask for different samples: {apart} differs"
            )
        found += [Compare(name, case, name, other) for name in variants]
    return found


def _asked_apart(case: Case, other: Case) -> str | None:
    """The key by which two cases ask for other words or shares; None where they differ in their wording and number alone."""
    one, two = case.model_dump(), other.model_dump()
    alike = ("template", "train_samples", "eval_samples", "tolerance")
    return next((key for key in ("kind", *one) if key not in alike and one[key] != two.get(key)), None)
