"""The plan of the experiment, and what all rules share: specifications, paths and resources."""

import os
import sys
from pathlib import Path
from shlex import join, quote

from snakemake.settings.types import DeploymentMethod

# Jobs run the package of this checkout, in whatever environment the rules are given.
SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)
shell.prefix(f"export PYTHONPATH={quote(SOURCE)}" + "${{PYTHONPATH:+:$PYTHONPATH}}; ")

from outctl.config.names import BASELINE, DEVIATION, NAME_PATTERN, TEMPERATURE
from outctl.config.reading import read_config
from outctl.pipeline.durations import earlier_seconds, measured_seconds
from outctl.pipeline.environments import pinned_versions
from outctl.errors import ending_in_one_line
from outctl.models.estimates import gpu_memory_mb, host_memory_mb, runtime_minutes
from outctl.pipeline.plan import Plan, load_plan
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
from outctl.pipeline.slices import PLAIN


def finish_messages():
    """Wait until Snakemake has said all that it was about to say: a thread of its own says it."""
    listener = workflow.logger_manager.queue_listener
    if listener is not None:
        listener.queue.join()


if not workflow.configfiles:
    with ending_in_one_line(finish_messages):
        # Read here first, since Snakemake's own words for a broken file do not name it.
        read_config(Path("config/config.yaml"))

    configfile: "config/config.yaml"


with ending_in_one_line(finish_messages):
    if workflow.is_main_process:
        # With conda, jobs run with the versions that the environments pin, not with those beside Snakemake.
        pinned = (
            DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
        )
        PLAN = load_plan(
            config,
            [Path(file) for file in workflow.configfiles],
            pinned_versions(Path(workflow.basedir) / "envs") if pinned else None,
        )
        PLAN.check_services()
        PLAN.inspect()
        PLAN.write_specs()
        announce(PLAN.freeze())
        logger.addFilter(LockExplained(PLAN.layout, join(["snakemake", *sys.argv[1:]])))
    else:
        # A job on another host follows the plan that it was submitted with, whatever was edited since.
        PLAN = Plan.thaw(Path(os.environ[PLAN_VARIABLE]))
        check_owner(PLAN.layout)

LAYOUT = PLAN.layout
SETTINGS = PLAN.experiment.resources
# The rules whose jobs do each other's work, where they are of one model and variant; first those that keep parts of it.
IN_SERIES = (
    "evaluate",
    "evaluate_deviation",
    "evaluate_retention",
    "evaluate_agreement",
)
# What jobs that compute with a model run in; the others need no GPU.
ENVIRONMENT = f"../../envs/{'gpu' if SETTINGS.gpu else 'cpu'}.yaml"


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
            (job.rule.name.replace("_", "-"), *names_of(job))
            for rule in IN_SERIES
            for job in workflow.dag.needrun_jobs()
            if job.rule.name == rule
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


def names_of(job):
    """Model, variant and, where there is one, case of a job in a series."""
    wildcards = job.wildcards_dict
    return [
        wildcards[name] for name in ("model", "variant", "case") if name in wildcards
    ]


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
    if job.rule.name not in IN_SERIES:
        return None
    return f"{job.wildcards.model}/{job.wildcards.variant}"


def expected_seconds(job):
    """What a job takes; None where nothing tells, 0 where it is then known to take seconds."""
    # `all` runs nothing, so there is nothing to measure.
    if not job.benchmark:
        return 0.0
    if job.rule.name == "fetch_model":
        # Another model's time says nothing of what the network takes for this one.
        return measured_seconds(Path(job.benchmark))
    seconds = earlier_seconds(Path(job.benchmark))
    if seconds is None and job.rule.name.replace("_", "-") in PLAIN:
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
    return [made_by(*job) for job in PLAN.jobs()]


def spec_of(stage, *names):
    """Input function: the specification of a job, named by wildcards.

    Its file is named after its content: a change of what the job depends on is another input, which makes the job stale.
    """

    def path(wildcards):
        file = PLAN.spec_path(stage, *(getattr(wildcards, name) for name in names))
        if not workflow.is_main_process and not file.is_file():
            raise WorkflowError(
                f"outctl: the code of {stage}, or a package, was changed after the workflow was started; "
                "start the workflow again"
            )
        return file

    return path


def made_by(stage, *names):
    """What stands for a job's outputs in the inputs of others: their provenance, which is small and holds their checksums.

    So touching a large file makes nothing stale, and changing one does.
    """
    return LAYOUT.provenance(stage, *names)


def host_memory(training):
    """Resource function: host memory in MB, by the model's size and the attempt."""
    return lambda wildcards, attempt: host_memory_mb(
        PLAN.registry.models[wildcards.model], attempt, training
    )


def gpu_memory(training):
    """Resource function: GPU memory in MB, by the model's size and precision and the attempt."""
    return lambda wildcards, attempt: SETTINGS.gpu * gpu_memory_mb(
        PLAN.registry.models[wildcards.model], attempt, training
    )


def runtime(tokens):
    """Resource function: minutes, by the model's size, the tokens that `tokens(wildcards)` says there are, and the attempt."""
    return lambda wildcards, attempt: runtime_minutes(
        PLAN.registry.models[wildcards.model], attempt, tokens(wildcards), SETTINGS
    )


def logging_flags(wildcards):
    """The flags that name where a training shows its curves."""
    logging = PLAN.experiment.logging
    services = [f"--report-to={name}" for name in logging.report_to]
    return [
        f"--tensorboard={LAYOUT.tensorboard(wildcards.model, wildcards.adapter)}",
        f"--tracking={LAYOUT.tracking()}",
        *services,
        f"--project={logging.project}",
    ]


def asked_with(wildcards):
    """What stands for what a variant is asked with, beside the model: an adapter, a temperature, or nothing."""
    model, variant = wildcards.model, wildcards.variant
    if variant == BASELINE:
        return []
    if variant == TEMPERATURE:
        return [made_by("fit-temperature", model)]
    return [made_by("finetune", model, variant)]


def asked_with_flag(wildcards):
    """The flag that names what the variant is asked with."""
    if wildcards.variant == TEMPERATURE:
        return [f"--temperature={LAYOUT.temperature(wildcards.model)}"]
    adapter = LAYOUT.variant_adapter(wildcards.model, wildcards.variant)
    return [] if adapter is None else [f"--adapter-dir={adapter}"]


def reference_model(wildcards):
    """What stands for the reference of base_model_deviation; nothing where a model's own base is the reference."""
    reference = PLAN.experiment.base_model_deviation.reference
    return (
        []
        if reference in (None, wildcards.model)
        else [made_by("fetch-model", reference)]
    )


def reference_flag(wildcards):
    """The flag that names that reference."""
    reference = PLAN.experiment.base_model_deviation.reference
    return (
        []
        if reference in (None, wildcards.model)
        else [f"--reference-dir={LAYOUT.model(reference)}"]
    )
