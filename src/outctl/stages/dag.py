"""The DAG: the list of the stages, and plans of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from outctl.config.experiment import Experiment
from outctl.config.loading import load_experiment
from outctl.config.models import Registry
from outctl.config.reading import NOTHING, file_of
from outctl.errors import KeyedError, OutctlError, first_line
from outctl.pipeline.plan import Plan
from outctl.pipeline.runs import PLAN_VARIABLE, jobs_of_this_run
from outctl.pipeline.setup import Job
from outctl.pipeline.specs import read_spec
from outctl.pipeline.stage import Stage
from outctl.pipeline.staleness import check_unchanged
from outctl.stages.aggregate import Aggregate
from outctl.stages.aggregate_model import AggregateModel
from outctl.stages.evaluate import Evaluate
from outctl.stages.evaluate_agreement import EvaluateAgreement
from outctl.stages.evaluate_deviation import EvaluateDeviation
from outctl.stages.evaluate_retention import EvaluateRetention
from outctl.stages.fetch_adapter import FetchAdapter
from outctl.stages.fetch_model import FetchModel
from outctl.stages.figures import Figures
from outctl.stages.finetune import Finetune
from outctl.stages.fit_temperature import FitTemperature
from outctl.stages.inputs import read_inputs
from outctl.stages.make_deviation_samples import MakeDeviationSamples
from outctl.stages.make_samples import MakeSamples
from outctl.stages.model_job import ModelJob, ModelStage
from outctl.stages.report import Report

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        FetchModel(),
        MakeSamples(),
        MakeDeviationSamples(),
        Finetune(),
        FetchAdapter(),
        FitTemperature(),
        Evaluate(),
        EvaluateDeviation(),
        EvaluateRetention(),
        EvaluateAgreement(),
        AggregateModel(),
        Aggregate(),
        Figures(),
        Report(),
    )
}
"""The stages by their names; each comes after those whose outputs it reads."""


def load_plan(
    data: Any,
    files: Sequence[Path],
    versions: Mapping[str, str] | None = None,
    given: Mapping[str, Any] = NOTHING,
) -> Plan:
    """Check a configuration as far as it can be known before any job runs, and plan it.

    Args:
        data: the merged configuration.
        files: the files it was merged from, in order.
        versions: as for `Plan`.
        given: what the command line gives, as Snakemake reads it; it is part of `data`.

    Raises:
        OutctlError: one line with file, key, what is wrong, and the nearest valid name where there is one.
    """
    try:
        plan = plan_of(*load_experiment(data, files, given), versions)
        _ = plan.recipes, plan.comparisons
    except KeyedError as mistake:
        raise OutctlError(f"{file_of(mistake.key, data, files, given)}: {mistake}") from None
    return plan


def plan_of(experiment: Experiment, registry: Registry, versions: Mapping[str, str] | None = None) -> Plan:
    """The plan of a checked configuration.

    Raises:
        KeyedError, OutctlError: as `read_inputs`.
    """
    return Plan(STAGES, experiment, registry, read_inputs(experiment), versions)


def thaw_plan(path: Path) -> Plan:
    """The plan that a workflow was started with, from its file.

    Raises:
        OutctlError: the file is gone or broken.
    """
    return Plan.thaw(path, STAGES)


def plan_of_this_run() -> Plan | None:
    """The plan of the run of the workflow that this process belongs to; None by hand.

    Raises:
        OutctlError: its file is gone or broken.
    """
    return thaw_plan(Path(os.environ[PLAN_VARIABLE])) if PLAN_VARIABLE in os.environ else None


def jobs_beside(job: Job) -> Iterator[ModelJob]:
    """What else the run of the workflow that a job belongs to asks of the same model and variant; nothing by hand."""
    stage = STAGES[job[0]]
    if not isinstance(stage, ModelStage) or not stage.in_series:
        return
    try:
        plan = plan_of_this_run()
    except OutctlError:
        return
    if plan is None:
        return
    for other, file in jobs_of_this_run(plan.layout).items():
        beside = STAGES[other[0]]
        if other[1:3] != job[1:3] or other == job or not isinstance(beside, ModelStage):
            continue
        try:
            spec = read_spec(file, other[0])
            # Code that only the other stage reaches may have been edited since the run began.
            check_unchanged(spec, beside)
            found = beside.planned(plan.layout, spec, other[1:])
        except Exception as error:
            # The other job's own start shows it whole; here it must not cost the job that is done.
            print(f"{'/'.join(other)}: left to its own job: {first_line(error)}")
            continue
        yield found
