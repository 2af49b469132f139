"""Why a step is stale, in words: what its outputs were made from, against what they would be made from now."""

from base64 import urlsafe_b64decode
from pathlib import Path

from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import package_versions
from outctl.pipeline.setup import Job
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Stage
from outctl.storage.files import read_json

CUT_OFF = Path(".snakemake/incomplete")
"""Where Snakemake keeps a file for every output of a job that runs, named after the output in base64."""


def check_unchanged(spec: Spec, stage: Stage) -> None:
    """Make sure, as a job starts, that code and packages are still those that its specification was made for.

    Args:
        spec: the specification.
        stage: its stage.

    Raises:
        OutctlError: they are not; what the job would write would bear the wrong name.
    """
    if stage.code(spec.entries, spec.plugins) != spec.code:
        raise OutctlError(
            f"the code of {spec.stage} was edited after the workflow was started; start the workflow again"
        )
    for package, version in package_versions(spec.packages).items():
        if version != spec.packages[package]:
            raise OutctlError(
                f"this job runs with {package} {version}, and the workflow was started for {spec.packages[package]}; "
                "install the versions of constraints.txt in both environments, or start the workflow again"
            )


def job_of(plan: Plan, target: str) -> Job:
    """The job that a target names: one of its outputs, or its stage and names with slashes (evaluate/model/variant/case).

    Raises:
        OutctlError: there is no such job in this experiment.
    """
    jobs = list(plan.jobs())
    named = tuple(target.strip("/").split("/"))
    if named in jobs:
        return named
    path = Path(target).resolve()
    for job in jobs:
        outputs = plan.outputs(*job)
        if any(path == file.resolve() for file in outputs):
            return job
        if plan.stages[job[0]].directory and outputs[-1].parent.resolve() in (path, path.parent):
            return job
    raise OutctlError(
        f"{target}: no output of this experiment and no step of it; name a file below {plan.layout.results} or a step such "
        f"as {'/'.join(jobs[-3])}"
    )


def stale_jobs(plan: Plan) -> dict[Job, list[str]]:
    """Every stale job with the reasons of its own, a line each; none for one that is stale only because jobs upstream are.

    Args:
        plan: the plan, which has been inspected.
    """
    cut_off = _cut_off()
    stale: dict[Job, list[str]] = {}
    for job in plan.jobs():
        upstream = {name: tuple(name.split("/")) in stale for name in plan.spec(*job).upstream}
        lines = _reasons(plan, job, {name for name, is_stale in upstream.items() if is_stale}, cut_off)
        if lines or any(upstream.values()):
            stale[job] = lines
    return stale


def explain(plan: Plan, job: Job) -> dict[Job, list[str]]:
    """Why a job is stale: it and every job upstream that is stale for reasons of its own, nearest first, each with its reasons.

    The job's own reasons may be none, where it is stale only because of others; nothing at all if it is up to date.
    """
    stale = stale_jobs(plan)
    if job not in stale:
        return {}
    found = {job: stale[job]}
    nearest = [job]
    for reader in nearest:
        for name in plan.spec(*reader).upstream:
            upstream = tuple(name.split("/"))
            if upstream in stale and upstream not in nearest:
                nearest.append(upstream)
                if stale[upstream]:
                    found[upstream] = stale[upstream]
    return found


def _cut_off() -> set[str]:
    """Outputs of jobs that were running when Snakemake was killed."""
    files = [file.relative_to(CUT_OFF).parts for file in CUT_OFF.rglob("*") if file.is_file()]
    # Names that are too long for a file are cut into directories, whose names begin with @.
    encoded = ["".join(part.removeprefix("@") for part in parts) for parts in files]
    return {urlsafe_b64decode(name).decode() for name in encoded if name != "migration_underway"}


def _reasons(plan: Plan, job: Job, stale: set[str], cut_off: set[str]) -> list[str]:
    """Reasons of a job's own; `stale` are the jobs upstream that are stale, which are no reasons of its own."""
    outputs, found = plan.outputs(*job), plan.found[job]
    missing = [file for file in outputs if not file.is_file()]
    lines = (
        [f"{missing[0]}{f' and {len(missing) - 1} more files are' if missing[1:] else ' is'} missing"]
        if missing
        else []
    )
    if cut_off.intersection(map(str, outputs)) and not missing:
        lines.append("it was being made when the workflow was killed")
    if found is None:
        return lines
    lines += [
        f"{file} {'was changed since it was written' if file.is_file() else 'is missing'}"
        for file in found.changed
        if file not in missing
    ]
    before, now = found.spec, plan.spec(*job)
    if before is None:
        return lines or ["it was made by another version of this program"]
    if found.spec_hash != now.hash:
        stage = plan.stages[job[0]]
        lines += stage.changes(before.settings, now.settings, job[1:])
        lines += _changed_code(plan.layout, stage, before, now)
        lines += _changed_packages(before, now)
    for name, spec_hash in now.upstream.items():
        again = before.upstream.get(name) != spec_hash or before.repaired.get(name) != now.repaired.get(name)
        if again and name in before.upstream and name not in stale:
            lines.append(f"{name} was made again since")
    if found.spec_hash != now.hash and not lines:
        # Settings say it where there are some; what is left is an edit of the plan itself.
        lines += [f"it reads {name} now" for name in now.upstream if name not in before.upstream]
        lines += [f"it reads {name} no more" for name in before.upstream if name not in now.upstream]
        if not lines and not stale:
            lines = ["its specification is written otherwise"]
    return lines


def _changed_code(layout: Layout, stage: Stage, before: Spec, now: Spec) -> list[str]:
    if before.code == now.code:
        return []
    new = stage.code_by_module(now.entries, now.plugins)
    try:
        old = read_json(layout.code(before.code))
    except OutctlError:
        return ["the code that it runs was edited"]
    modules = sorted(module for module in old.keys() | new.keys() if old.get(module) != new.get(module))
    return [f"the code that it runs was edited: {', '.join(modules)}"]


def _changed_packages(before: Spec, now: Spec) -> list[str]:
    old, new = before.packages, now.packages
    return [
        f"package {name} was {old.get(name, 'of no matter')} and is {new.get(name, 'of no matter')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
