"""Whether an experiment can run on this machine, and what to change where it cannot."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from outctl.config.models import ModelEntry
from outctl.errors import first_line
from outctl.machine import hub
from outctl.machine import memory as machine
from outctl.machine.estimates import ASSUMED, disk_mb
from outctl.machine.fits import Fit, fit
from outctl.machine.model_types import expected_engine
from outctl.pipeline.plan import Plan

T = TypeVar("T")
RESULTS_MB = 500
"""Room for the results of an experiment without adapters."""
ADAPTER_BYTES = 0.3
"""Room for an adapter with two checkpoints of its training, per parameter of its model."""
LOGGER = "snakemake_logger_plugin_outctl"
PLUGINS = {"snakemake_executor_plugin_slurm": "the cluster profile", LOGGER: "the display of runs"}
"""Plugins of Snakemake, and what needs them."""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        topic: the thing.
        state: `ok`; `note` where something is missing that the experiment does without; `problem` where it does not.
        text: what was found.
        advice: what to change where it is not right.
    """

    topic: str
    state: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        findings: what was found, in the order in which a person reads it.
        models: where each model of the registry fits.
        asked: models that the experiment asks for.
        fetched: models that are there.
    """

    findings: list[Finding]
    models: Sequence[Fit] = ()
    asked: Sequence[str] = ()
    fetched: Sequence[str] = ()

    @property
    def runs(self) -> bool:
        """Whether the experiment can run here."""
        return all(finding.state != "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "runs": self.runs,
            "findings": [asdict(finding) for finding in self.findings],
            "models": [
                asdict(model) | {"asked": model.model in self.asked, "fetched": model.model in self.fetched}
                for model in self.models
            ],
        }


def diagnose(plan: Plan | None, reason: str = "") -> Diagnosis:
    """Look at this machine.

    Args:
        plan: the experiment that is to run.
        reason: why there is no plan, where its configuration is wrong.
    """
    with ThreadPoolExecutor() as pool:
        # What waits for other programs, all at once.
        computing = _begun(pool, lambda: _computing(plan))
        waiting = [_begun(pool, partial(_looked, topic, look)) for topic, look in (("Slurm", _cluster), ("hub", _hub))]
        if plan is not None:
            waiting.append(_begun(pool, lambda: _looked("model", lambda: _sources(plan))))
        findings = [*_looked("Snakemake", _software), *_looked("CPU", _processor)]
        gpus, found = computing()
        findings += found
        for look in waiting:
            findings += look()
    if plan is None:
        return Diagnosis([*findings, Finding("configuration", "problem", reason, "correct it there")])
    memory, _ = machine.memory_mb()
    # A job computes on the first GPU.
    gpu = gpus[0]["memory_mb"] if gpus else None
    fits = [fit(name, plan.entry(name), memory, gpu) for name in plan.registry.models]
    findings += [*_looked("disk", lambda: _disks(plan)), *_memory(fits, plan)]
    return Diagnosis(findings, fits, plan.models, [name for name in plan.registry.models if _is_fetched(plan, name)])


def _begun(pool: ThreadPoolExecutor, look: Callable[[], T]) -> Callable[[], T]:
    """Begin to look at something, and give what waits for its end."""
    try:
        return pool.submit(look).result
    except RuntimeError:
        # No thread can be started, as under a tight `ulimit -v`: then it is done when it is asked for.
        return look


def _looked(topic: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What was found, or that it cannot be told: one thing that is out of order must not hide the others."""
    try:
        return look()
    # Drivers, libraries and file systems fail in any way.
    except Exception as error:
        return [Finding(topic, "note", f"cannot be told: {type(error).__name__}: {first_line(error)}")]


def _found(probed: Mapping[str, Any], name: str, default: Any) -> Any:
    return probed.get(name, {}).get("found", default)


def _software() -> list[Finding]:
    found = [Finding("Python", "ok", sys.version.split()[0])]
    again = "install this project again: `make run` does it"
    try:
        found.append(Finding("Snakemake", "ok", version("snakemake")))
    except PackageNotFoundError:
        return [*found, Finding("Snakemake", "problem", "not installed", again)]
    if shutil.which("snakemake") is None:
        activate = f"activate the environment: `. {Path(sys.prefix) / 'bin' / 'activate'}`"
        found.append(Finding("Snakemake", "note", "`snakemake` is not on the PATH", activate))
    for name, purpose in PLUGINS.items():
        if find_spec(name) is None:
            text = f"{name.replace('_', '-')} is missing, which {purpose} needs"
            found.append(Finding("Snakemake", "problem" if name == LOGGER else "note", text, again))
    return found


def _processor() -> list[Finding]:
    memory, limit = machine.memory_mb()
    flags = machine.bfloat16_flags()
    fast = f"bfloat16 by {', '.join(flags)}" if flags else "no bfloat16"
    return [
        Finding("CPU", "ok", f"{machine.cores()} cores, {fast}"),
        Finding("memory", "ok", f"{gigabytes(memory)}, {limit}"),
    ]


def _computing(plan: Plan | None) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The GPUs that torch can compute on; and what it can, and whether weights can be in 4 bits."""
    driver = machine.driver_gpus()
    probed, broken = machine.compute()
    if not probed:
        advice = "raise the memory limit if there is one, else install this project again"
        return [], [Finding("torch", "problem", f"cannot be used: {broken}", advice)]
    kind = f"for CUDA {probed['cuda']}" if probed["cuda"] else "for CPUs"
    found = [Finding("torch", "ok", f"{probed['torch']} {kind}, computes in {_found(probed, 'dtype', 'float32')}")]
    gpus = _found(probed, "gpus", [])
    for gpu in gpus:
        fast = "bfloat16" if gpu["bfloat16"] else "no bfloat16: computes in float32"
        found.append(Finding("GPU", "ok", f"{gpu['name']}, {gigabytes(gpu['memory_mb'])}, {fast}"))
    if driver and not gpus:
        advice = "install torch for CUDA, or a driver for the CUDA that it was built for"
        found.append(Finding("GPU", "note", f"{'; '.join(driver)}: torch cannot use it", advice))
    elif not gpus:
        found.append(Finding("GPU", "note", "none; models compute on the CPU"))
    needed = plan is not None and any(plan.registry.models[name].precision == "nf4" for name in plan.fetched)
    if error := probed["nf4"].get("error"):
        advice = "install bitsandbytes again, or give the model another `precision` in the registry"
        found.append(Finding("4 bits", "problem" if needed else "note", f"bitsandbytes does not work: {error}", advice))
    else:
        on = "GPU" if probed["nf4"]["found"] == "cuda" else "CPU"
        found.append(Finding("4 bits", "ok", f"bitsandbytes quantises on the {on}"))
    return gpus, found


def _cluster() -> list[Finding]:
    """Whether jobs can be submitted to Slurm from here."""
    if shutil.which("sbatch") is None:
        return [Finding("Slurm", "note", "no sbatch here; `--profile slurm` needs a cluster's login node")]
    queue = machine.ask(["squeue", "--me", "--noheader"])
    if queue.output is None:
        advice = "run on a login node, or ask whoever looks after the cluster"
        return [Finding("Slurm", "note", f"sbatch is here, and squeue fails: {queue.reason}", advice)]
    accounts = machine.ask(["sacctmgr", "--noheader", "--parsable2", "show", "associations", "format=account"])
    with_accounts = "with accounting" if accounts.output is not None else "without accounting, which is not needed"
    return [Finding("Slurm", "ok", f"sbatch and squeue answer, {with_accounts}")]


def _hub() -> list[Finding]:
    reason, token = hub.hub_access()
    signed = "with a token" if token else "without a token: gated models need `hf auth login`"
    if reason:
        advice = "nothing, if all models are fetched or come from elsewhere; else unset HF_HUB_OFFLINE, or mend network or proxy"
        return [Finding("hub", "note", f"cannot be asked: {reason}", advice)]
    return [Finding("hub", "ok", f"answers, {signed}")]


def _sources(plan: Plan) -> list[Finding]:
    """Where the experiment's models come from that are not fetched yet, all asked at once."""
    missing = {name: plan.registry.models[name] for name in plan.fetched if not _is_fetched(plan, name)}
    found = [_fetched(plan, name) for name in plan.fetched if name not in missing]
    with ThreadPoolExecutor() as pool:
        asked = {name: _begun(pool, partial(_out_of_reach, entry)) for name, entry in missing.items()}
        for name, reason in asked.items():
            kind = missing[name].source.kind
            if problem := reason():
                text, advice = problem
                advice += f"; or run `outctl fetch-model {name}` where there is access, with a models_dir that both see"
                found.append(Finding("model", "problem", f"{name} cannot be fetched: {text}", advice))
            else:
                found.append(Finding("model", "ok", f"{name} is not fetched yet, and its source can be read ({kind})"))
    return found


def _fetched(plan: Plan, name: str) -> Finding:
    """That a model is fetched, and the engine that its type is known to take."""
    engine = expected_engine(plan.layout.model(name), plan.registry.models[name].engine)
    if engine.startswith("refused"):
        return Finding("model", "problem", f"{name} cannot be asked ({engine})", "choose a model that generates text")
    return Finding("model", "ok", f"{name} is fetched; engine {engine or 'unknown, checked when it is loaded'}")


def _is_fetched(plan: Plan, name: str) -> bool:
    return plan.provenance("fetch-model", name).is_file()


def _out_of_reach(entry: ModelEntry) -> tuple[str, str] | None:
    """Why a model's source cannot be read, and what to change; None where it can."""
    place = entry.source.place
    match place.by:
        case "hub":
            return hub.hub_reason(place.names[0], place.revision or "main")
        case "index":
            for package in place.names:
                if reason := machine.package_index_reason(package):
                    text = f"the package index does not give {package} ({reason})"
                    return text, "check the network and pip's settings"
            return None
        case "disk":
            path = Path(place.names[0])
            there = path.is_file() or any(path.glob("*.safetensors"))
            return None if there else (f"there are no weights at {path}", "correct source.path in the registry")


def _disks(plan: Plan) -> list[Finding]:
    """Room and permission to write where models and results lie."""
    missing = [plan.entry(name) for name in plan.fetched if not _is_fetched(plan, name)]
    trained = sum(plan.entry(name).parameters or ASSUMED for name in plan.models) * len(plan.recipes)
    wanted = [
        ("models_dir", plan.layout.models, sum(map(disk_mb, missing))),
        ("results_dir", plan.layout.results, RESULTS_MB + round(ADAPTER_BYTES * trained / 1e6)),
    ]
    if downloaded := [entry for entry in missing if entry.source.place.by == "hub"]:
        room = sum(2 * (entry.parameters or ASSUMED) for entry in downloaded)
        wanted.append(("the hub's cache (HF_HOME)", hub.hub_cache(), round(room / 1e6)))
    found = []
    for key, directory, needed in wanted:
        free = machine.free_mb(directory)
        text = f"{directory}: {'unknown' if free is None else gigabytes(free)} free, some {gigabytes(needed)} needed"
        if not machine.is_writable(directory):
            found.append(Finding("disk", "problem", f"{directory}: not writable", f"point {key} elsewhere"))
        elif free is not None and free < needed:
            found.append(Finding("disk", "problem", text, f"make room, or point {key} to another disk"))
        else:
            found.append(Finding("disk", "ok", text))
    return found


def _memory(fits: Sequence[Fit], plan: Plan) -> list[Finding]:
    """Whether each model of the experiment fits."""
    found = []
    for model in fits:
        if model.model in plan.models and "no" in (model.evaluation, model.training if plan.recipes else ""):
            text = f"{model.model} takes some {gigabytes(model.memory_mb)}, and {gigabytes(model.gpu_mb)} on a GPU"
            advice = "take it out of `models`, give it `precision: nf4`, or take a larger machine"
            found.append(Finding("memory", "problem", f"too little: {text}", advice))
    return found


def gigabytes(megabytes: int) -> str:
    """An amount of memory in words."""
    return f"{megabytes / 1e3:.1f} GB"
