"""Sweeps: one recipe in many variations, each an adapter of its own."""

import itertools
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from outctl.config.adapters import AdapterRecipe, Sweep
from outctl.config.experiment import Experiment
from outctl.config.reading import nearest
from outctl.errors import KeyedError

SAMPLES = "samples"
"""The key of a sweep that stands for the number of training samples."""


def all_recipes(experiment: Experiment) -> dict[str, AdapterRecipe]:
    """The recipes of an experiment by the names of their adapters, those of sweeps behind the others.

    Raises:
        KeyedError: a sweep varies what is no key of a recipe, gives a key a value that it cannot have, or makes an adapter
            of a name that is taken.
    """
    recipes = experiment.recipes
    taken = {name.lower() for name in experiment.adapters}
    for name, sweep in experiment.sweeps.items():
        for adapter, recipe in expand(name, sweep, experiment).items():
            if adapter.lower() in taken:
                raise KeyedError(("sweeps", name), f"makes the adapter {adapter!r}, which there is already")
            taken.add(adapter.lower())
            recipes[adapter] = recipe
    return recipes


def expand(name: str, sweep: Sweep, experiment: Experiment) -> dict[str, AdapterRecipe]:
    """The adapters of one sweep.

    Raises:
        KeyedError: as `all_recipes`.
    """
    if sweep.base in experiment.existing:
        raise KeyedError(("sweeps", name, "base"), f"{sweep.base!r} was trained elsewhere, and has no recipe to vary")
    if sweep.base not in experiment.recipes:
        hint = nearest(sweep.base, list(experiment.recipes))
        raise KeyedError(("sweeps", name, "base"), f"there is no adapter {sweep.base!r}; {hint}")
    base = experiment.recipes[sweep.base]
    known = [key for key in (SAMPLES, *AdapterRecipe.model_fields) if key != "cases"]
    axes = []
    for key in sweep.vary:
        if key not in known:
            raise KeyedError(("sweeps", name, "vary", key), f"unknown key; {nearest(key, known)}")
        axes.append([(key, label, value) for label, value in _labelled(name, sweep, key)])
    recipes = {}
    for chosen in itertools.product(*axes):
        content = base.model_dump()
        for key, _, value in chosen:
            content |= {"cases": _cases(name, base, value)} if key == SAMPLES else {key: value}
        try:
            recipe = AdapterRecipe.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = next((key for key, _, _ in chosen if (key,) == first["loc"][:1]), chosen[0][0])
            message = first["msg"].removeprefix("Value error, ")
            raise KeyedError(("sweeps", name, "vary", key), f"{message}, not {first['input']!r}") from None
        adapter = "-".join([name, *(label for _, label, _ in chosen)])
        if unfit := experiment.unfit(recipe):
            raise KeyedError(("sweeps", name), f"{adapter}: {'.'.join(unfit[0])}: {unfit[1]}")
        recipes[adapter] = recipe
    return recipes


def labels(experiment: Experiment) -> dict[str, dict[str, dict[str, str]]]:
    """For each sweep, its adapters, and of each the label of every key that is varied."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, sweep in experiment.sweeps.items():
        axes = [[(key, label) for label, _ in _labelled(name, sweep, key)] for key in sweep.vary]
        found[name] = {
            "-".join([name, *(label for _, label in chosen)]): dict(chosen) for chosen in itertools.product(*axes)
        }
    return found


def bases(experiment: Experiment) -> dict[str, dict[str, dict[str, str]]]:
    """For each sweep, the adapter that it varies, and what that one has of every key that is varied."""
    found = {}
    for name, sweep in experiment.sweeps.items():
        recipe = experiment.recipes[sweep.base]
        values = {key: sum(recipe.cases.values()) if key == SAMPLES else getattr(recipe, key) for key in sweep.vary}
        own = {}
        for key, value in values.items():
            named = (label for label, varied in _labelled(name, sweep, key) if varied == value)
            own[key] = next(named, _described(value))
        found[name] = {sweep.base: own}
    return found


def _described(value: Any) -> str:
    """A value that has no label. `layers` alone can be none, which stands for all of them."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "all" if value is None else str(value)


def _labelled(name: str, sweep: Sweep, key: str) -> Iterator[tuple[str, Any]]:
    """The values of a key with their labels."""
    values = sweep.vary[key]
    if isinstance(values, dict):
        yield from values.items()
        return
    for position, value in enumerate(values):
        if isinstance(value, (list, dict)) or value is None:
            raise KeyedError(
                ("sweeps", name, "vary", key, position),
                "this value needs a name: write `{name: value, ...}` for the list",
            )
        yield str(value), value


def _cases(name: str, base: AdapterRecipe, samples: Any) -> dict[str, Any]:
    if len(base.cases) > 1:
        raise KeyedError(
            ("sweeps", name, "vary", SAMPLES),
            f"the recipe trains on {len(base.cases)} cases; this takes one of a single case",
        )
    return dict.fromkeys(base.cases, samples)


def repeats(recipes: dict[str, AdapterRecipe]) -> dict[str, list[str]]:
    """Adapters that differ in their seed alone, under the name of the first of them; those that stand alone are left out."""
    groups: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(recipe.model_copy(update={"seed": 0}).model_dump_json(), []).append(name)
    return {names[0]: names for names in groups.values() if len(names) > 1}
