"""An experiment and its registry, from files and the command line: their plug-ins, their paths, and whether their names exist."""

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from outctl.config.command_line import typed
from outctl.config.experiment import Experiment
from outctl.config.models import Registry, check_trainable
from outctl.config.paths import Key, as_seen_from_here, file_paths, with_paths
from outctl.config.plugins import load_plugins
from outctl.config.reading import (
    COMMAND_LINE,
    NOTHING,
    contains,
    dotted,
    file_of,
    nearest,
    read_config,
    read_yaml,
    validate,
)
from outctl.errors import KeyedError, OutctlError

BUILT_IN = Path(__file__).parent / "models.yaml"
"""The registry that comes with the package."""
USUAL = Path("config/models.yaml")
"""The registry that is taken where an experiment names none."""


def load_registry(path: Path) -> Registry:
    """Read a model registry, and behind its models those of the registry that it extends.

    Raises:
        OutctlError: the file cannot be read, or is no registry.
    """
    data = read_yaml(path)
    registry = validate(Registry, data, [path])
    paths = {key: as_seen_from_here(text, path, dotted(key)) for key, text in file_paths(registry)}
    registry = validate(Registry, with_paths(data, paths), [path])
    if registry.extends is None:
        return registry
    return Registry(
        models={
            **registry.models,
            **{name: entry for name, entry in load_registry(BUILT_IN).models.items() if name not in registry.models},
        }
    )


def registry_of(experiment: Experiment) -> Path:
    """The file of the registry that an experiment chooses from."""
    if experiment.registry is not None:
        return Path(experiment.registry)
    return USUAL if USUAL.is_file() else BUILT_IN


def _cases_of_sections(experiment: Experiment) -> Iterator[tuple[Key, str]]:
    if experiment.agreement:
        for position, case in enumerate(experiment.agreement.cases):
            yield ("agreement", "cases", position), case
    if experiment.temperature_scaling:
        yield ("temperature_scaling", "case"), experiment.temperature_scaling.case


def _read_experiment(data: Any, files: Sequence[Path], given: Mapping[str, Any]) -> Experiment:
    """Load the plug-ins of an experiment and check it; its paths are then relative to the working directory."""

    def located(key: Key, path: str) -> str:
        file = file_of(key, data, files, given)
        return path if file == COMMAND_LINE else as_seen_from_here(path, Path(file), dotted(key))

    listed = data.get("plugins") if isinstance(data, Mapping) else None
    plugins = listed if isinstance(listed, list) and all(isinstance(path, str) for path in listed) else []
    # First, since the rest of the configuration may name what they register.
    load_plugins([located(("plugins", position), path) for position, path in enumerate(plugins)])
    experiment = validate(Experiment, data, files)
    paths = {key: located(key, path) for key, path in file_paths(experiment) if contains(data, key)}
    return validate(Experiment, with_paths(data, paths), files)


def load_experiment(
    data: Any, files: Sequence[Path], given: Mapping[str, Any] = NOTHING
) -> tuple[Experiment, Registry]:
    """Check an experiment, the registry that it names, and every name by which one part refers to another.

    Args:
        data: the merged configuration.
        files: the files it was merged from, in order.
        given: what the command line gives, as Snakemake reads it; it is part of `data`.

    Returns:
        Both with paths that are relative to the working directory; in files they are relative to the file.

    Raises:
        OutctlError: one line with file, key, what is wrong, and the nearest valid name where there is one.
    """
    for path in files:
        if path.is_file():
            # Whoever merged the files may have read them less strictly.
            read_config(path)
    data = typed(data, given)

    def refuse(key: Key, message: str) -> typing.NoReturn:
        raise OutctlError(f"{file_of(key, data, files, given)}: {dotted(key)}: {message}")

    try:
        experiment = _read_experiment(data, files, given)
    except KeyedError as mistake:
        raise OutctlError(f"{file_of(mistake.key, data, files, given)}: {mistake}") from None

    source = registry_of(experiment)
    if not source.is_file():
        refuse(("registry",), f"there is no file {str(source)!r}")
    registry = load_registry(source)
    for position, model in enumerate(experiment.models):
        if model not in registry.models:
            hint = nearest(model, list(registry.models))
            refuse(("models", position), f"{model!r} is not in {source}; {hint}")
    reference = experiment.base_model_deviation.reference if experiment.base_model_deviation else None
    if reference is not None and reference not in registry.models:
        hint = nearest(reference, list(registry.models))
        refuse(("base_model_deviation", "reference"), f"{reference!r} is not in {source}; {hint}")
    for adapter, existing in experiment.existing.items():
        for position, model in enumerate(existing.models or []):
            if model not in experiment.models:
                hint = nearest(model, list(experiment.models))
                refuse(("adapters", adapter, "models", position), f"{model!r} is no model of the experiment; {hint}")
    for adapter, recipe in experiment.recipes.items():
        for case in recipe.cases:
            if case not in experiment.cases:
                hint = nearest(case, list(experiment.cases))
                refuse(("adapters", adapter, "cases", case), f"there is no such case; {hint}")
        if unfit := experiment.unfit(recipe):
            refuse(("adapters", adapter, *unfit[0]), unfit[1])
    for model in experiment.models if experiment.recipes else []:
        check_trainable(f"{source}: models.{model}.precision", registry.models[model].precision)
    for key, name in _cases_of_sections(experiment):
        if name not in experiment.cases:
            refuse(key, f"there is no case {name!r}; {nearest(name, list(experiment.cases))}")
        if experiment.cases[name].asks_for_limits:
            refuse(key, f"{name!r} asks for one of many answers; name a case that asks for words of its own")
    if scaling := experiment.temperature_scaling:
        scaled = experiment.cases[scaling.case]
        if scaled.picks_words:
            refuse(
                ("temperature_scaling", "case"),
                f"{scaling.case!r} leaves the words to the model; name one that gives them",
            )
        if scaled.train_samples < scaling.samples:
            available = f"cases.{scaling.case}.train_samples is {scaled.train_samples}"
            refuse(("temperature_scaling", "samples"), f"{scaling.samples} samples asked for, and {available}")
    first: dict[str, tuple[str, float]] = {}
    for name, config in experiment.cases.items():
        if config.set_aside is None:
            continue
        words, fraction = config.set_aside
        other, others = first.setdefault(words, (name, fraction))
        if fraction != others:
            # Words that one case sets aside for evaluation would be trained on in the other.
            refuse(("cases", name, "eval_fraction"), f"{fraction} differs from cases.{other}: {others}")
    return experiment, registry
