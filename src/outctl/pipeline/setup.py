"""What an experiment consists of: models, cases, adapters, variants, and what its configuration's files say."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from outctl.config.adapters import AdapterInDirectory, AdapterRecipe, AdapterSource, ExistingAdapter
from outctl.config.comparisons import Compare, all_comparisons
from outctl.config.experiment import Experiment
from outctl.config.models import ModelEntry, Registry
from outctl.config.names import BASELINE, TEMPERATURE
from outctl.config.sweeps import all_recipes, repeats
from outctl.machine.estimates import sized
from outctl.pipeline.layout import Layout
from outctl.storage.checksums import Checksums

SPLITS = ("train", "eval")
"""The two splits of every case."""

Names = tuple[str, ...]
"""What a job is for: the values of its stage's wildcards."""
Job = tuple[str, ...]
"""Stage and names of a job."""


@dataclass(frozen=True)
class Inputs:
    """What the files say that a configuration names.

    Attributes:
        templates: the template of each case.
        vocabularies: the listed words of each case; None where they are the most common ones, or the case draws none.
        texts: the texts that `base_model_deviation` takes excerpts from, and those that `retention` reads, by their names.
    """

    templates: dict[str, dict[str, Any]]
    vocabularies: dict[str, list[str] | None]
    texts: dict[str, dict[str, str]]


def _contents(source: AdapterSource, checksums: Checksums) -> str | None:
    """Names and checksums of an adapter's local files, as one hash; None for sources that are pinned by themselves."""
    if not isinstance(source, AdapterInDirectory) or not Path(source.path).is_dir():
        return None
    files = sorted(file for file in Path(source.path).iterdir() if file.is_file())
    listing = [(file.name, checksums.of(file)) for file in files]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


class Setup(ABC):
    """The parts of one experiment, which stages plan their jobs from.

    Args:
        experiment: the checked configuration.
        registry: the models it chooses from.
        inputs: what the files say that it names.
    """

    def __init__(self, experiment: Experiment, registry: Registry, inputs: Inputs) -> None:
        self.experiment = experiment
        self.registry = registry
        self.inputs = inputs
        self.layout = Layout(Path(experiment.results_dir), Path(experiment.models_dir))
        self._sources: dict[str, str | None] = {}

    @abstractmethod
    def jobs(self) -> Sequence[Job]:
        """Stage and names of every job; each comes after those whose outputs it reads."""

    @abstractmethod
    def computed(self, model: str) -> Sequence[Job]:
        """The jobs that compute with a prepared model."""

    @property
    def models(self) -> list[str]:
        """Models of the experiment."""
        return list(self.experiment.models)

    @property
    def fetched(self) -> list[str]:
        """Models whose weights are needed: those of the experiment, and the reference of `base_model_deviation`."""
        deviation = self.experiment.base_model_deviation
        return list(
            dict.fromkeys([*self.models, *([deviation.reference] if deviation and deviation.reference else [])])
        )

    @property
    def cases(self) -> list[str]:
        """Cases of the experiment."""
        return list(self.experiment.cases)

    @cached_property
    def recipes(self) -> dict[str, AdapterRecipe]:
        """The recipe of each adapter that is trained, those of sweeps included.

        Raises:
            KeyedError: a sweep cannot be expanded.
        """
        return all_recipes(self.experiment)

    @property
    def existing(self) -> dict[str, ExistingAdapter]:
        """The adapters that were trained elsewhere."""
        return self.experiment.existing

    @property
    def adapters(self) -> list[str]:
        """All adapters, in the order of the tables: that of the configuration, and behind it those of sweeps."""
        return list(dict.fromkeys([*self.experiment.adapters, *self.recipes]))

    @property
    def models_of(self) -> dict[str, list[str]]:
        """The models that each adapter from elsewhere is put on; those that are trained go on all."""
        return {name: list(adapter.models or self.models) for name, adapter in self.existing.items()}

    @cached_property
    def repeats(self) -> dict[str, list[str]]:
        """Adapters that differ in their seed alone, under the name of the first."""
        return repeats(self.recipes)

    @property
    def trained_on(self) -> dict[str, list[str]]:
        """The cases that each adapter trains on, in the order in which a training reads them."""
        return {adapter: sorted(recipe.cases) for adapter, recipe in self.recipes.items()}

    @property
    def variants(self) -> list[str]:
        """The baseline, the baseline at its best temperature where it is asked for, and every adapter."""
        return [BASELINE, *([TEMPERATURE] if self.experiment.temperature_scaling else []), *self.adapters]

    def variants_of(self, model: str) -> list[str]:
        """The variants that a model has."""
        models = self.models_of
        return [name for name in self.variants if model in models.get(name, [model])]

    @property
    def answering_in_text(self) -> list[str]:
        """The baseline as it is and every adapter: the variants that answer in text."""
        return [BASELINE, *self.adapters]

    @cached_property
    def comparisons(self) -> list[Compare]:
        """What is compared with what: every variant with the baseline, and what the configuration names.

        Raises:
            KeyedError: an adapter or case that is named is none, or two cases do not ask the same.
        """
        return all_comparisons(self.experiment, self.variants, self.adapters)

    def entry(self, model: str) -> ModelEntry:
        """A model's entry of the registry, with the number of its parameters where that can be known by now."""
        return sized(self.registry.models[model], self.layout.model(model) / "provenance.json")

    def contents(self, model: str) -> str | None:
        """What identifies the files behind a model's source, as one hash; None for sources that are pinned by themselves."""
        if model not in self._sources:
            self._sources[model] = self.registry.models[model].source.contents(self.checksums(shared=True))
        return self._sources[model]

    def adapter_contents(self, adapter: str) -> str | None:
        """What the directory of an adapter from elsewhere holds, as one hash; None for one that is pinned by itself."""
        # No model can be called so.
        name = f"adapters/{adapter}"
        if name not in self._sources:
            self._sources[name] = _contents(self.existing[adapter].source, self.checksums(shared=False))
        return self._sources[name]

    @cached_property
    def _checksum_files(self) -> dict[bool, Checksums]:
        return {shared: Checksums(self.layout.checksums(shared)) for shared in (True, False)}

    def checksums(self, shared: bool) -> Checksums:
        """Checksums of what lies beside the models, which experiments share, or of the results."""
        return self._checksum_files[shared]

    def save_checksums(self) -> None:
        """Keep the checksums for the next start."""
        for checksums in self._checksum_files.values():
            checksums.save()
