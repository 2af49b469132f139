"""Copies of a finished experiment in which something is changed, and what a dry run and `outctl why` then say."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CHECKOUT = ("Snakefile", "profiles", "src")
"""What of the checkout the workflow reads."""
COMMAND = re.compile(r"python\s+-m\s+outctl\s+((?:[^\s-]\S*\s+)+)--spec")
"""The beginning of every rule's command: it names stage, model, variant and case, as `outctl why` does."""


@dataclass
class Copy:
    """A copy of a finished experiment.

    Attributes:
        folder: the working directory.
        config: the experiment's configuration, written when the copy is examined.
        registry: the model registry, likewise.
        checkout: the checkout whose workflow is run.
        packages: a directory with metadata of packages, which comes before what is installed.
        arguments: further arguments of Snakemake.
        path: a directory with programs, which comes before what is installed.
        scope: pattern of the jobs that are asked for; all by default.
    """

    folder: Path
    config: dict[str, Any]
    registry: dict[str, Any]
    checkout: Path = ROOT
    packages: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    path: str = ""
    scope: str = "*"

    @property
    def results(self) -> Path:
        """The results' directory."""
        return self.folder / "results"

    def own_checkout(self) -> Path:
        """Give the copy a checkout of its own, to be edited."""
        if self.checkout == ROOT:
            self.checkout = self.folder / "checkout"
            if not self.checkout.is_dir():
                copy_checkout(self.checkout)
        return self.checkout

    def write(self) -> None:
        """Write configuration and registry; what has not changed keeps its time."""
        for name, content in (("experiment.yaml", self.config), ("models.yaml", self.registry)):
            text, file = yaml.safe_dump(content, sort_keys=False), self.folder / name
            if not file.is_file() or file.read_text() != text:
                file.write_text(text)

    def command(self, *arguments: str) -> list[str]:
        """Arguments of Snakemake."""
        files = ["--snakefile", str(self.checkout / "Snakefile"), "--directory", str(self.folder)]
        return [*arguments, *files, "--configfile", "experiment.yaml", "--cores", "2", "--resources", "gpu=2"]


@dataclass(frozen=True)
class Finished:
    """A finished experiment.

    Attributes:
        folder: its working directory.
        config: its configuration.
        registry: its model registry.
        numbers: numbers of its copies.
    """

    folder: Path
    config: dict[str, Any]
    registry: dict[str, Any]
    numbers: Iterator[int] = field(default_factory=count)

    def copy(self) -> Copy:
        """A copy, to be changed."""
        folder = self.folder.parent / f"copy-{next(self.numbers)}"
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("log", "*.lock"))
        return Copy(folder, deepcopy(self.config), deepcopy(self.registry))


def copy_checkout(target: Path) -> None:
    """Copy what the workflow reads of the checkout."""
    target.mkdir()
    for name in CHECKOUT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, target / name)


@dataclass(frozen=True)
class Findings:
    """What is stale, by a dry run and by `outctl why`.

    Attributes:
        known: all jobs of the experiment, as `outctl why` names them.
        jobs: those that the dry run lists; without one, those of `outctl why`.
        reasons: the jobs that `outctl why` lists, each with its reasons.
        output: what the dry run printed; nothing without one.
    """

    known: set[str]
    jobs: set[str]
    reasons: dict[str, list[str]]
    output: str


def examine(copy: Copy) -> Findings:
    """Dry-run Snakemake and ask `outctl why`; call it in a process of its own, which it changes for good."""
    os.chdir(copy.folder)
    copy.write()
    if copy.path:
        os.environ["PATH"] = f"{copy.path}{os.pathsep}{os.environ['PATH']}"
    sys.path[:0] = [str(copy.checkout / "src"), *copy.packages]
    output = dry_run(copy)
    plan = plan_of(copy)
    found = import_module("outctl.pipeline.staleness").stale_jobs(plan)
    reasons = {"/".join(job): lines for job, lines in found.items()}
    reasons = {job: lines for job, lines in reasons.items() if fnmatch(job, copy.scope)}
    return Findings({"/".join(job) for job in plan.jobs()}, listed_jobs(output), reasons, output)


def dry_run(copy: Copy) -> str:
    """What a dry run in the working directory prints."""
    log = copy.folder / "dry-run.log"
    arguments = copy.command("--dry-run", "--printshellcmds", *copy.arguments)
    standard = [os.dup(1), os.dup(2)]
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.argv = ["snakemake", *arguments]
        with suppress(SystemExit):
            import_module("snakemake.cli").main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(standard[0], 1)
    os.dup2(standard[1], 2)
    return log.read_text()


def listed_jobs(output: str) -> set[str]:
    """The jobs that a dry run lists.

    Raises:
        AssertionError: the run failed, or lists jobs whose commands are of another form.
    """
    jobs = {"/".join(names.split()) for names in COMMAND.findall(output)}
    total = re.search(r"^total +(\d+)$", output, re.MULTILINE)
    if total is None:
        assert "Nothing to be done" in output, output
        return set()
    targets = bool(re.search(r"^all +1$", output, re.MULTILINE))
    assert int(total[1]) - targets == len(jobs), output
    return jobs


def plan_of(copy: Copy) -> Any:
    """The copy's plan by its own checkout, inspected."""
    versions = None
    if "conda" in copy.arguments:
        versions = import_module("outctl.pipeline.environments").pinned_versions(
            copy.checkout / "src/outctl/workflow/envs"
        )
    planning = import_module("outctl.stages.dag")
    assert Path(planning.__file__).is_relative_to(copy.checkout)
    plan = planning.load_plan(copy.config, [Path("experiment.yaml")], versions)
    plan.inspect()
    return plan


def matching(patterns: Iterable[str], jobs: Iterable[str]) -> set[str]:
    """The jobs that patterns stand for.

    Raises:
        AssertionError: a pattern stands for none.
    """
    jobs = set(jobs)
    found = {pattern: {job for job in jobs if fnmatch(job, pattern)} for pattern in patterns}
    assert all(found.values()), (
        f"no job is called {[pattern for pattern in found if not found[pattern]]}: {sorted(jobs)}"
    )
    return set().union(*found.values())
