"""What the stages have in common that gather results."""

from collections.abc import Mapping
from typing import Any

from outctl.config.adapters import AdapterRecipe
from outctl.config.comparisons import Compare
from outctl.config.names import DEVIATION, TEMPERATURE
from outctl.config.registries import MetricName, metric_names
from outctl.config.statistics import Statistics
from outctl.config.sweeps import bases, labels
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Files, Stage, flat
from outctl.results.variants import Compared
from outctl.storage.files import read_json

LISTED = {"deviation": DEVIATION, "retention": "retention", "agreement": "agreement"}
"""Settings that say which evaluations there are beside the cases, with their sections."""


class AggregateSettings(Compared):
    """Settings of `aggregate-model` and `aggregate`.

    Attributes:
        metrics: divergences that have columns beside those that are always there.
        recipes: how each adapter was trained.
        repeats: adapters that differ in their seed alone, under the name of the first.
        comparisons: what is compared with what.
        deviation, retention: whether these were measured.
        agreement: the cases whose answers were sampled.
    """

    models: list[str]
    cases: list[str]
    metrics: list[MetricName]
    recipes: dict[str, AdapterRecipe]
    repeats: dict[str, list[str]]
    comparisons: list[Compare]
    deviation: bool
    retention: bool
    agreement: list[str]
    statistics: Statistics
    seed: int


class ResultStage(Stage):
    """A stage that reads what others have written below the results, and writes there."""

    def jobs(self, setup: Setup) -> list[Names]:
        """One for the whole experiment."""
        return [()]

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """The results of every model."""
        return [("aggregate-model", model) for model in setup.models]

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """The directory of the results."""
        return {"results_dir": layout.results}

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """The lists of the experiment, the sections that there are, `statistics` and the seed."""
        return {
            "models": settings["models"],
            "adapters": [
                variant
                for variant in settings["variants"]
                if variant in settings["trained_on"] or variant in settings["elsewhere"]
            ],
            "cases": settings["cases"],
            "temperature_scaling": TEMPERATURE in settings["variants"],
            **{section: settings[name] for name, section in LISTED.items() if name in settings},
            **flat(settings.get("statistics", {}), "statistics"),
            "seed": settings.get("seed"),
        }


def aggregate_settings(setup: Setup, models: list[str]) -> AggregateSettings:
    """What is gathered and compared of some models."""
    experiment = setup.experiment
    variants = [name for name in setup.variants if any(name in setup.variants_of(model) for model in models)]
    return AggregateSettings(
        models=models,
        variants=variants,
        cases=setup.cases,
        metrics=metric_names(experiment.plugins),
        trained_on=setup.trained_on,
        elsewhere=_elsewhere(setup, variants),
        recipes=setup.recipes,
        repeats=setup.repeats,
        comparisons=[pair for pair in setup.comparisons if {pair.variant, pair.against_variant} <= set(variants)],
        sweeps=labels(experiment),
        deviation=experiment.base_model_deviation is not None,
        retention=experiment.retention is not None,
        agreement=experiment.agreement.cases if experiment.agreement else [],
        statistics=experiment.statistics,
        seed=experiment.seed,
    )


def _elsewhere(setup: Setup, variants: list[str]) -> dict[str, list[str]]:
    """Those of some variants that are adapters from elsewhere, with their models."""
    return {name: models for name, models in setup.models_of.items() if name in variants}


def drawn(setup: Setup) -> dict[str, Any]:
    """What figures show, as the fields of `outctl.results.variants.Drawn`."""
    return {
        "models": setup.models,
        "variants": setup.variants,
        "cases": setup.cases,
        "trained_on": setup.trained_on,
        "elsewhere": setup.models_of,
        "sweeps": labels(setup.experiment),
        "bases": bases(setup.experiment),
    }


def read_model_results(spec: Spec, layout: Layout, models: list[str]) -> dict[str, dict[str, Any]]:
    """The results of each model.

    Raises:
        OutctlError: some are missing, broken, or from other settings than the current ones.
    """
    results: dict[str, dict[str, Any]] = {}
    for model in models:
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results[model] = read_json(file)
    return results
