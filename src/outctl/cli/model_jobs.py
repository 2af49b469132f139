"""Jobs that ask a model something, put together: from what a command is given, and from the plan for the rest."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from outctl.cli.app import known, plan_of, spec_of
from outctl.config.names import BASELINE, DEVIATION, TEMPERATURE
from outctl.errors import OutctlError, first_line
from outctl.pipeline.plan import Plan
from outctl.pipeline.runs import PLAN_VARIABLE, jobs_of_this_run
from outctl.pipeline.specs import Spec, read_spec
from outctl.pipeline.staleness import check_unchanged
from outctl.stages.evaluate import EvaluationJob
from outctl.stages.evaluate_agreement import AgreementJob
from outctl.stages.evaluate_deviation import DeviationJob
from outctl.stages.evaluate_retention import RetentionJob
from outctl.stages.fit_temperature import TemperatureJob
from outctl.stages.model_job import ModelJob

KINDS: dict[str, type[ModelJob]] = {
    "evaluate": EvaluationJob,
    "fit-temperature": TemperatureJob,
    "evaluate-deviation": DeviationJob,
    "evaluate-retention": RetentionJob,
    "evaluate-agreement": AgreementJob,
}
"""The stages that ask a model something."""
SECTIONS = {
    "make-deviation-samples": DEVIATION,
    "fit-temperature": "temperature_scaling",
    "evaluate-deviation": DEVIATION,
    "evaluate-retention": "retention",
    "evaluate-agreement": "agreement",
}
"""The section of the configuration that asks for a stage, for those that not every experiment has."""


def model_job(stage: str, names: tuple[str, ...], spec: Path | None, config: Path, **given: Path | None) -> ModelJob:
    """A job, everything that is not given being where the workflow keeps it.

    Args:
        stage: its stage.
        names: what it is for: the model, and as far as the stage has them the variant and the case.
        spec: its specification's file; made from the configuration if None.
        config: the configuration.
        given: its other attributes.

    Raises:
        OutctlError: there is no specification, and the configuration does not ask for the stage or does not know a name.
    """
    attributes: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
    if spec is not None:
        found = spec_of(spec, config, stage, *names)
        if _needed(found, names) <= attributes.keys():
            return KINDS[stage](**{"spec": found, "adapter": None} | attributes)
        return replace(planned_job(plan_of(config), found, names), **attributes)
    plan = plan_of(config)
    check_asked_for(plan, stage)
    valid = (plan.models, plan.variants if stage == "evaluate" else plan.tuned, plan.cases)
    for kind, name, names_of_kind in zip(("model", "variant", "case"), names, valid, strict=False):
        known(kind, name, names_of_kind)
    return replace(planned_job(plan, plan.spec(stage, *names), names), **attributes)


def check_asked_for(plan: Plan, stage: str) -> None:
    """Make sure that an experiment has a stage.

    Raises:
        OutctlError: its configuration has no section for it.
    """
    section = SECTIONS.get(stage)
    if section is not None and getattr(plan.experiment, section) is None:
        raise OutctlError(f"the configuration has no section {section}; without it there is nothing to do here")


def _needed(spec: Spec, names: tuple[str, ...]) -> set[str]:
    """The attributes that a job cannot do without, beside its specification."""
    variant = names[1] if len(names) > 1 else BASELINE
    needed = {"model_dir", "output", "checkpoints"}
    if spec.stage != "evaluate-retention":
        needed.add("samples")
    if variant == TEMPERATURE:
        needed.add("temperature")
    elif variant != BASELINE:
        needed.add("adapter")
    if spec.settings.get("reference"):
        needed.add("reference_dir")
    return needed


def planned_job(plan: Plan, spec: Spec, names: tuple[str, ...]) -> ModelJob:
    """A job with everything where the workflow keeps it."""
    layout, stage, settings = plan.layout, spec.stage, spec.settings
    model, variant = names[0], names[1] if len(names) > 1 else BASELINE
    read: dict[str, Path | None] = {}
    match stage:
        case "evaluate":
            temperature = layout.temperature(model) if variant == TEMPERATURE else None
            read = {"samples": layout.samples(settings["case_name"], "eval"), "temperature": temperature}
        case "evaluate-agreement":
            read = {"samples": layout.samples(settings["case_name"], "eval")}
        case "fit-temperature":
            read = {"samples": layout.samples(settings["case_name"], "train")}
        case "evaluate-deviation":
            reference = settings["reference"]
            read = {
                "samples": layout.samples(DEVIATION, "eval"),
                "reference_dir": layout.model(reference) if reference else None,
            }
    attributes: dict[str, Any] = {
        "spec": spec,
        "model_dir": layout.model(model),
        "adapter": layout.variant_adapter(model, variant),
        "output": plan.outputs(stage, *names)[0],
        "checkpoints": layout.checkpoints(),
    }
    return KINDS[stage](**attributes | read)


def jobs_beside(job: tuple[str, ...]) -> Iterator[ModelJob]:
    """What else the run of the workflow that a job belongs to asks of the same model and variant; nothing by hand.

    Args:
        job: stage, model, variant, and the case where there is one.
    """
    if PLAN_VARIABLE not in os.environ:
        return
    try:
        plan = Plan.thaw(Path(os.environ[PLAN_VARIABLE]))
    except OutctlError:
        return
    for other, file in jobs_of_this_run(plan.layout).items():
        if other[1:3] != job[1:3] or other == job:
            continue
        try:
            spec = read_spec(file, other[0])
            # Code that only the other stage reaches may have been edited since the run began.
            check_unchanged(spec)
            found = planned_job(plan, spec, other[1:])
        except Exception as error:
            # The other job's own start shows it whole; here it must not cost the job that is done.
            print(f"{'/'.join(other)}: left to its own job: {first_line(error)}")
            continue
        yield found
