"""The plan of the experiment, and what all rules share: specifications, paths and resources."""

import os
import re
import sys
from pathlib import Path
from shlex import join

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

# Whoever starts the workflow may have another package of this name installed, or none.
SOURCE = str(Path(str(workflow.current_basedir)).parents[2])
if SOURCE not in sys.path:
    sys.path.insert(0, SOURCE)

from outctl.config.names import DEVIATION, NAME_PATTERN
from outctl.config.reading import read_config
from outctl.pipeline.environments import pinned_versions
from outctl.errors import ending_in_one_line
from outctl.machine.estimates import gpu_memory_mb, host_memory_mb, runtime_minutes
from outctl.pipeline.runs import (
    PLAN_VARIABLE,
    RUN_VARIABLE,
    LockExplained,
    announce,
    begin,
    check_owner,
    full_disk,
    orphans,
)
from outctl.pipeline.workflow import FOLDER, job_prefix
from outctl.stages.dag import STAGES, load_plan, thaw_plan
from outctl.stages.model_check import planning_notes
from outctl.stages.model_job import ModelStage
from outctl.stages.training_check import training_notes
from outctl.storage.benchmarks import earlier_seconds, read_benchmark


def finish_messages():
    """Wait until Snakemake has said all that it was about to say: a thread of its own says it."""
    listener = workflow.logger_manager.queue_listener
    if listener is not None:
        listener.queue.join()


DEFAULT = Path("config/config.yaml")
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
shell.prefix(job_prefix(Path(SOURCE), WITH_CONDA))

with ending_in_one_line(finish_messages):
    if not workflow.configfiles:
        # Not by `configfile`: Snakemake's own words for a broken file do not name it, and a module that is given a
        # configuration reads none.
        content = read_config(DEFAULT)
        update_config(content, workflow.config_settings.config)
        config.update(content)
        workflow.configfiles.append(DEFAULT)
    if workflow.is_main_process:
        given = list(workflow.overwrite_configfiles)
        PLAN = load_plan(
            config,
            # Those of the command line are stronger than those that a Snakefile names.
            [
                *(Path(file) for file in workflow.configfiles if file not in given),
                *given,
            ],
            # With conda, jobs run with the versions that the environments pin, not with those beside Snakemake.
            (pinned_versions(FOLDER / "envs") if WITH_CONDA else None),
            workflow.config_settings.config,
        )
        PLAN.check_services()
        PLAN.inspect()
        PLAN.write_specs()
        for line in [*training_notes(PLAN), *planning_notes(PLAN)]:
            print(line, file=sys.stderr)
        announce(PLAN.freeze())
        logger.addFilter(LockExplained(PLAN.layout, join(["snakemake", *sys.argv[1:]])))
    else:
        # A job on another host follows the plan that it was submitted with, whatever was edited since.
        PLAN = thaw_plan(Path(os.environ[PLAN_VARIABLE]))
        check_owner(PLAN.layout)

LAYOUT = PLAN.layout
SETTINGS = PLAN.experiment.resources
# The stages whose jobs do each other's work, where they are of one model and variant; first those that keep parts of it.
IN_SERIES = [
    name
    for name, stage in STAGES.items()
    if isinstance(stage, ModelStage) and stage.in_series
]
# What jobs that compute with a model run in; the others need no GPU.
ENVIRONMENT = f"../envs/{'gpu' if SETTINGS.gpu else 'cpu'}.yaml"


envvars:
    PLAN_VARIABLE,
    RUN_VARIABLE,


wildcard_constraints:
    model=NAME_PATTERN,
    adapter=NAME_PATTERN,
    variant=NAME_PATTERN,
    # Samples of base_model_deviation lie where a case's would, and no case can be called that.
    case=rf"(?!{DEVIATION}(?![A-Za-z0-9._-])){NAME_PATTERN}",
    split="train|eval",


def start():
    """What a run does once Snakemake holds its lock."""
    with ending_in_one_line(finish_messages):
        # A job that has loaded a model goes on with what others are about to ask of the same model and variant.
        jobs = [
            job_of(job)
            for stage in IN_SERIES
            for job in workflow.dag.needrun_jobs()
            if stage_of(job) == stage
        ]
        begin(LAYOUT, {job: PLAN.spec_path(*job) for job in jobs})
        for line in orphans(PLAN.guarded_outputs()):
            print(f"outctl: {line}", file=sys.stderr)
    expected = expected_jobs()
    known = sum(seconds is not None for _, seconds, _ in expected.values())
    # What stands beside the text is for the display of the run, src/snakemake_logger_plugin_outctl.
    logger.info(
        f"outctl: how long they take is known of {known} of {len(expected)} jobs",
        extra={"expected": expected, "rerun": rerun_command()},
    )


def stage_of(job):
    """The stage of one of Snakemake's jobs."""
    return job.rule.name.replace("_", "-")


def job_of(job):
    """Stage and names of one of Snakemake's jobs."""
    stage = stage_of(job)
    return (stage, *(job.wildcards_dict[name] for name in STAGES[stage].wildcards))


def expected_jobs():
    """Kind, seconds and series of each job of this run, by its number; seconds as far as earlier runs tell."""
    return {
        job.jobid: (
            f"{job.rule.name}/{job.wildcards_dict.get('model')}",
            expected_seconds(job),
            series_of(job),
        )
        for job in workflow.dag.needrun_jobs()
    }


def series_of(job):
    """The series of an evaluation: the first of a model and variant goes on with the others; None for other jobs."""
    if stage_of(job) not in IN_SERIES:
        return None
    return f"{job.wildcards.model}/{job.wildcards.variant}"


def expected_seconds(job):
    """What a job takes; None where nothing tells, 0 where it is then known to take seconds."""
    # `all` runs nothing, so there is nothing to measure.
    if not job.benchmark:
        return 0.0
    stage = STAGES.get(stage_of(job))
    if stage is None:
        # A rule of the user's own Snakefile.
        return None
    if stage.shared:
        # Another model's time says nothing of what the network takes for this one.
        return read_benchmark(Path(job.benchmark)).get("s")
    seconds = earlier_seconds(Path(job.benchmark))
    if seconds is None and not stage.computes:
        return 0.0
    return seconds


def rerun_command():
    """The command of this run without what it was asked to make; a file behind its first word is made alone."""
    left_out = {*workflow.dag_settings.targets, "--forceall", "-F"}
    return [
        "snakemake",
        *(argument for argument in sys.argv[1:] if argument not in left_out),
    ]


def finish():
    """What a run does that has made all that it was asked for."""
    PLAN.remove_outdated_specs()
    PLAN.remove_checkpoints()
    if LAYOUT.case_table().is_file():
        shell("python -m outctl summary --results-dir {LAYOUT.results:q} >&2")


def explain_failure():
    """What a run says that failed, where the jobs' logs may not be able to."""
    if line := full_disk(LAYOUT):
        print(f"outctl: {line}", file=sys.stderr)


def all_targets():
    """The provenance of every job's outputs: of those that are deleted too, though nothing else may need them."""
    return [PLAN.provenance(*job) for job in PLAN.jobs()]


def one_of(names):
    """A pattern that fits these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def names_in(stage, wildcards):
    """What a job is for."""
    return [getattr(wildcards, name) for name in STAGES[stage].wildcards]


def as_wildcards(stage):
    """What stands for it in paths."""
    return tuple(f"{{{name}}}" for name in STAGES[stage].wildcards)


def spec_of(stage):
    """Input function: the specification of a job.

    Its file is named after its content: a change of what the job depends on is another input, which makes the job stale.
    """

    def path(wildcards):
        file = PLAN.spec_path(stage, *names_in(stage, wildcards))
        if not workflow.is_main_process and not file.is_file():
            raise WorkflowError(
                f"outctl: the code of {stage}, or a package, was changed after the workflow was started; "
                "start the workflow again"
            )
        return file

    return path


def upstream_of(stage):
    """Input function: what stands for all that a job reads: provenance, which is small and holds the outputs' checksums.

    So touching a large file makes nothing stale, and changing one does.
    """
    return lambda wildcards: [
        PLAN.provenance(*job)
        for job in PLAN.upstream(stage, *names_in(stage, wildcards))
    ]


def output_of(stage):
    """What a job writes, if that is one file."""
    return STAGES[stage].output(LAYOUT, as_wildcards(stage))


def provenance_of(stage):
    """The provenance of what a job writes."""
    return STAGES[stage].provenance(LAYOUT, as_wildcards(stage))


def outputs_of(stage):
    """All files that a job writes."""
    return STAGES[stage].outputs(PLAN, as_wildcards(stage))


def log_of(stage):
    """The log of a job."""
    names = as_wildcards(stage) or (stage.replace("-", "_"),)
    folder = LAYOUT.results / "logs"
    if STAGES[stage].wildcards:
        folder /= stage.replace("-", "_")
    return folder.joinpath(*names[:-1], f"{names[-1]}.log")


def benchmark_of(stage):
    """What a job took, as Snakemake measures it."""
    return STAGES[stage].benchmark(LAYOUT, as_wildcards(stage))


def flags_of(stage):
    """Parameter function: the flags of a job's command, beside its specification.

    A function of the input: the flags make nothing stale, since all that a result depends on stands in the specification.
    """

    def flags(wildcards, input):
        names = names_in(stage, wildcards)
        files = STAGES[stage].files(LAYOUT, PLAN.spec(stage, *names).settings, names)
        return [
            f"--{name.replace('_', '-')}={value}"
            for name, values in (files | STAGES[stage].others(PLAN.experiment)).items()
            for value in (values if isinstance(values, list) else [values])
        ]

    return flags


def host_memory(training):
    """Resource function: host memory in MB, by the model's size and the attempt."""
    return lambda wildcards, attempt: host_memory_mb(
        PLAN.entry(wildcards.model), attempt, training
    )


def gpu_memory(training):
    """Resource function: GPU memory in MB, by the model's size and precision and the attempt."""
    return lambda wildcards, attempt: SETTINGS.gpu * gpu_memory_mb(
        PLAN.entry(wildcards.model), attempt, training
    )


def runtime_of(stage):
    """Resource function: minutes, by the model's size, the tokens that a job processes, and the attempt."""
    return lambda wildcards, attempt: runtime_minutes(
        PLAN.entry(wildcards.model),
        attempt,
        STAGES[stage].tokens(PLAN, names_in(stage, wildcards)),
        SETTINGS,
    )
