"""An experiment: the configuration as a whole.

Every key is described where it stands; the JSON schemas under `src/outctl/workflow/schemas/` are generated from these classes.
"""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from outctl.config.adapters import AdapterEntry, AdapterRecipe, ExistingAdapter, Sweep
from outctl.config.evaluations import Agreement, BaseModelDeviation, Evaluation, Retention, TemperatureScaling
from outctl.config.names import (
    RESULT_FOLDERS,
    AdapterName,
    CaseName,
    FilePath,
    ModelName,
    Name,
    OutputPath,
    check_distinct,
)
from outctl.config.registries import CaseConfig
from outctl.config.running import Logging, Resources
from outctl.config.section import Section
from outctl.config.statistics import Comparisons, Statistics


class Experiment(Section):
    """One experiment: models, cases and adapters, and everything between a model's name and the tables."""

    models: list[ModelName] = Field(min_length=1)
    """Models of the registry to run."""
    cases: Annotated[dict[CaseName, CaseConfig], AfterValidator(check_distinct)] = Field(min_length=1)
    """The cases: named ways of asking."""
    adapters: Annotated[dict[AdapterName, AdapterEntry], AfterValidator(check_distinct)] = Field(default={})
    """The adapters, compared with the baseline of each model: a recipe, which is trained for each model, or a `source` of one
    that was trained elsewhere."""
    sweeps: Annotated[dict[Name, Sweep], AfterValidator(check_distinct)] = Field(default={})
    """Variations of recipes, which expand into further adapters."""
    base_model_deviation: BaseModelDeviation | None = None
    """Also ask every model and adapter to break off a text; not asked without this section."""
    retention: Retention | None = None
    """Also measure what training changed elsewhere; not measured without this section."""
    agreement: Agreement | None = None
    """Also sample answers, and hold them against the exact probabilities; not done without this section."""
    temperature_scaling: TemperatureScaling | None = None
    """Also measure the baseline at its best temperature, as the variant `temperature`; not done without this section."""
    comparisons: Comparisons = Comparisons()
    """Further comparisons beside those with the baseline."""
    plugins: list[FilePath] = Field(default=[])
    """Python files of your own that register kinds of case, losses, metrics or vocabularies, which this configuration then
    names. Each is one file: it may import this package and what is installed."""
    registry: FilePath | None = None
    """Path of the model registry; by default `config/models.yaml` in the working directory or, where there is none, the
    registry that comes with outctl."""
    results_dir: OutputPath = "results"
    """Where results are written, relative to the working directory, as everything that is written is."""
    models_dir: OutputPath = "resources/models"
    """Where prepared models are kept, apart from results, so that experiments share them; relative to the working
    directory."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of everything that is drawn: words, shares, prompts' seeds, bootstrap."""
    evaluation: Evaluation = Evaluation()
    """How models are asked."""
    statistics: Statistics = Statistics()
    """How records are summarised."""
    resources: Resources = Resources()
    """What the workflow asks of a cluster, or of this machine."""
    logging: Logging = Logging()
    """Where trainings show their curves, beside TensorBoard event files; no result depends on it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        repeated = sorted({name for name in self.models if self.models.count(name) > 1})
        if repeated:
            raise ValueError(f"models: {repeated[0]!r} is listed twice")
        results, models = (Path(os.path.normpath(Path.cwd() / name)) for name in (self.results_dir, self.models_dir))
        taken = [results / folder for folder in RESULT_FOLDERS]
        if models in (results, *results.parents) or any(folder in (models, *models.parents) for folder in taken):
            # Fetching a model replaces the directory of its name.
            raise ValueError(
                f"models_dir: {self.models_dir!r} and results_dir: {self.results_dir!r} lie inside each other; a model could "
                "take the place of results"
            )
        return self

    @property
    def recipes(self) -> dict[str, AdapterRecipe]:
        """The adapters that are trained, without those of sweeps."""
        return {name: adapter for name, adapter in self.adapters.items() if isinstance(adapter, AdapterRecipe)}

    @property
    def existing(self) -> dict[str, ExistingAdapter]:
        """The adapters that were trained elsewhere."""
        return {name: adapter for name, adapter in self.adapters.items() if isinstance(adapter, ExistingAdapter)}

    def unfit(self, recipe: AdapterRecipe) -> tuple[tuple[str, ...], str] | None:
        """Why a recipe cannot be trained on the cases that there are: its key, and a message; None if it can."""
        for case, count in recipe.cases.items():
            available = self.cases[case].train_samples
            if not 0 < count <= available:
                return ("cases", case), f"{count} samples asked for, and cases.{case}.train_samples is {available}"
            if recipe.targets == "even" and self.cases[case].asks_for_limits:
                limits = f"cases.{case} asks for limits, which no even split takes the place of; leave the case out"
                return ("targets",), limits
        total = sum(recipe.cases.values())
        if total <= recipe.held_out_samples:
            return (
                ("held_out_samples",),
                f"{recipe.held_out_samples} kept back of {total} samples leave none to train on",
            )
        return None
