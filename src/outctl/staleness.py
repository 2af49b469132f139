"""Why a step is stale, in words: what its outputs were made from, against what they would be made from now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from outctl.errors import OutctlError
from outctl.files import read_json
from outctl.fingerprint import code_of, fingerprint
from outctl.layout import Layout
from outctl.plan import Job, Plan
from outctl.provenance import package_versions, read_provenance
from outctl.specs import STAGES, Spec


def check_unchanged(spec: Spec) -> None:
    """Make sure, as a job starts, that code and packages are still those that its specification was made for.

    Raises:
        OutctlError: they are not; what the job would write would bear the wrong name.
    """
    if fingerprint(STAGES[spec.stage]) != spec.code:
        raise OutctlError(
            f"the code of {spec.stage} was edited after the workflow was started; start the workflow again"
        )
    installed = package_versions(spec.stage)
    for package, version in spec.packages.items():
        if installed.get(package) != version:
            raise OutctlError(
                f"this job runs with {package} {installed.get(package)}, and the workflow was started for {version}; "
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
        if any(path == file.resolve() for file in plan.outputs(*job)):
            return job
    raise OutctlError(
        f"{target}: no output of this experiment and no step of it; name a file below {plan.layout.results} or a step such "
        f"as {'/'.join(jobs[-3])}"
    )


def reasons(plan: Plan, job: Job) -> list[str]:
    """Why a job of its own is stale, a line each; empty if nothing of its own is. Jobs upstream are not looked at."""
    missing = [file for file in plan.outputs(*job) if not file.is_file()]
    if missing:
        return [f"{missing[0]} is missing" + (f", and {len(missing) - 1} more files" if missing[1:] else "")]
    path = plan.layout.provenance(*job)
    try:
        before = Spec.model_validate(read_provenance(path)["spec"])
    except (OutctlError, KeyError, ValidationError):
        return [f"{path} is not what was written there"]
    now = plan.spec(*job)
    if before.hash == now.hash:
        return ["its outputs were changed since they were written"] if before.repair != now.repair else []
    return [*_changed_settings(before, now), *_changed_code(plan.layout, before, now), *_changed_packages(before, now)]


def explain(plan: Plan, job: Job) -> dict[Job, list[str]]:
    """Why a job is stale: it and every job upstream that is stale for reasons of its own, nearest first, each with its reasons.

    The job's own reasons may be none, where it is stale only because of others; nothing at all if it is up to date.
    """
    found = {job: reasons(plan, job)}
    for name in plan.spec(*job).upstream:
        for upstream, lines in explain(plan, tuple(name.split("/"))).items():
            if lines:
                found.setdefault(upstream, lines)
    return found if any(found.values()) else {}


def stale_jobs(plan: Plan) -> Iterator[tuple[Job, list[str]]]:
    """Every stale job with its own reasons; none for one that is stale only because jobs upstream are."""
    stale: set[Job] = set()
    for job in plan.jobs():
        lines = reasons(plan, job)
        if lines or any(tuple(name.split("/")) in stale for name in plan.spec(*job).upstream):
            stale.add(job)
            yield job, lines


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: leaf for part in value for name, leaf in _flat(value[part], f"{key}.{part}".strip(".")).items()}
    return {key: value}


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changed_settings(before: Spec, now: Spec) -> list[str]:
    old, new = _flat(before.settings), _flat(now.settings)
    return [
        f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _changed_code(layout: Layout, before: Spec, now: Spec) -> list[str]:
    if before.code == now.code:
        return []
    new = code_of(STAGES[now.stage])
    try:
        old = read_json(layout.code(before.code))
    except OutctlError:
        return ["the code that it runs was edited"]
    modules = sorted(module for module in old.keys() | new.keys() if old.get(module) != new.get(module))
    return [f"the code that it runs was edited: {', '.join(modules)}"]


def _changed_packages(before: Spec, now: Spec) -> list[str]:
    old, new = before.packages, now.packages
    return [
        f"package {name} was {old.get(name)} and is {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
