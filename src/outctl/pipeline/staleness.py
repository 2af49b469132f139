"""Why a step is stale, in words: what its outputs were made from, against what they would be made from now."""

from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

from outctl.config.names import TEMPERATURE
from outctl.errors import OutctlError
from outctl.pipeline.entries import code_fingerprint, code_of_job
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import package_versions
from outctl.pipeline.slices import Job
from outctl.pipeline.specs import Spec
from outctl.storage.files import read_json

CUT_OFF = Path(".snakemake/incomplete")
"""Where Snakemake keeps a file for every output of a job that runs, named after the output in base64."""


def check_unchanged(spec: Spec) -> None:
    """Make sure, as a job starts, that code and packages are still those that its specification was made for.

    Raises:
        OutctlError: they are not; what the job would write would bear the wrong name.
    """
    if code_fingerprint(spec.stage, spec.entries, spec.plugins) != spec.code:
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
        # Some jobs write a whole directory.
        if outputs[-1].name == "provenance.json" and outputs[-1].parent.resolve() in (path, path.parent):
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
        lines += _changed_settings(job, before, now)
        lines += _changed_code(plan.layout, before, now)
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


SECTIONS = {
    "fit-temperature": "temperature_scaling",
    "evaluate-deviation": "base_model_deviation",
    "evaluate-retention": "retention",
    "evaluate-agreement": "agreement",
}
"""The section of the configuration that asks for each further evaluation."""
OF_OTHERS = ("model", "variant", "loading", "evaluation", "statistics", "case_name")
"""Settings of further evaluations that stand elsewhere in the configuration, or name the job."""


def _flat(value: Any, key: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: leaf for part in value for name, leaf in _flat(value[part], f"{key}.{part}").items()}
    return {key: value}


def _by_key(job: Job, spec: Spec) -> dict[str, Any]:
    """A specification's settings by the keys under which the configuration and the registry have them."""
    settings = spec.settings
    match job:
        case "fetch-model", model:
            return _flat(settings["source"], f"models.{model}.source")
        case "make-samples", case, split:
            own = settings["case"] | {
                "train_samples": None,
                "eval_samples": None,
                f"{split}_samples": settings["count"],
            }
            template = {f"{key} of the template of cases.{case}": text for key, text in settings["template"].items()}
            return _flat(own, f"cases.{case}") | template | {"seed": settings["seed"]}
        case "finetune", model, adapter:
            return _flat(settings["recipe"], f"adapters.{adapter}") | _flat(settings["loading"], f"models.{model}")
        case "evaluate", model, _, _:
            return _flat(settings["evaluation"], "evaluation") | _flat(settings["loading"], f"models.{model}")
        case ("make-deviation-samples",):
            texts = {f"text {name} of base_model_deviation": text for name, text in settings["texts"].items()}
            return {"base_model_deviation.samples": settings["count"], "seed": settings["seed"]} | texts
        case (
            "fit-temperature" | "evaluate-deviation" | "evaluate-retention" | "evaluate-agreement"
        ) as stage, model, *_:
            section = SECTIONS[stage]
            loading = _flat(settings["loading"], f"models.{model}") | _flat(settings["evaluation"], "evaluation")
            own = {name: value for name, value in settings.items() if name not in OF_OTHERS}
            return loading | _flat(own, section) | _flat(settings.get("statistics", {}), "statistics")
    lists = {
        "models": settings["models"],
        "adapters": [variant for variant in settings["variants"] if variant in settings["trained_on"]],
        "cases": settings["cases"],
        "temperature_scaling": TEMPERATURE in settings["variants"],
    }
    for name in ("deviation", "retention", "agreement"):
        lists |= {SECTIONS[f"evaluate-{name}"]: settings[name]} if name in settings else {}
    return lists | _flat(settings.get("statistics", {}), "statistics") | {"seed": settings.get("seed")}


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...") if isinstance(value, str) else text


def _changed_settings(job: Job, before: Spec, now: Spec) -> list[str]:
    old, new = _by_key(job, before), _by_key(job, now)
    lines = [
        f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    if not lines and before.settings.get("contents") != now.settings.get("contents"):
        lines = [f"{now.settings['source']['path']} holds other files than it did"]
    old_page, new_page = (spec.settings.get("assets", {}) for spec in (before, now))
    edited = sorted(name for name in old_page | new_page if old_page.get(name) != new_page.get(name))
    if edited:
        lines.append(f"the page of the report was edited: {', '.join(edited)}")
    return lines


def _changed_code(layout: Layout, before: Spec, now: Spec) -> list[str]:
    if before.code == now.code:
        return []
    new = code_of_job(now)
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
