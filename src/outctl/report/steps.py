"""What each step of the run was made with, on which machine, and what it took."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outctl.storage.benchmarks import read_benchmark

NAMES = ("model", "models", "variant", "case_name", "adapter")
"""Keys of a job's settings that name what it is about, where others say how it does it."""


@dataclass(frozen=True)
class Step:
    """One job.

    Attributes:
        stage, subject: what it does, and for what.
        provenance: the provenance of its outputs.
        wall_s, cpu_s, memory_mb: what it took; None where the run did not measure it.
    """

    stage: str
    subject: str
    provenance: Mapping[str, Any]
    wall_s: float | None
    cpu_s: float | None
    memory_mb: float | None

    @property
    def device(self) -> str | None:
        """What it computed on, `cpu` or the name of a GPU; None where it computed with no model."""
        return self.provenance.get("device")

    @property
    def on_gpu(self) -> bool:
        """Whether that was a GPU."""
        return self.device not in (None, "cpu")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it got of the configuration."""
        found: Mapping[str, Any] = self.provenance["spec"]["settings"]
        return found

    @property
    def row(self) -> dict[str, Any]:
        """The step as a row of a table."""
        return {
            "stage": self.stage,
            "of": self.subject,
            "device": self.device,
            "wall_s": self.wall_s,
            "gpu_s": self.wall_s if self.on_gpu else None,
            "cpu_s": self.cpu_s,
            "max_rss_mb": self.memory_mb,
        }


def read_step(job: tuple[str, ...], provenance: Mapping[str, Any], benchmark: Path) -> Step:
    """A job, its stage first, with what Snakemake measured of it; a file that is missing or broken counts as none."""
    stage, *names = job
    measured = read_benchmark(benchmark)
    return Step(stage, " / ".join(names), provenance, *(measured.get(key) for key in ("s", "cpu_time", "max_rss")))


@dataclass(frozen=True)
class Stage:
    """All jobs of a stage.

    Attributes:
        name: the stage.
        steps: its jobs.
    """

    name: str
    steps: list[Step]

    @property
    def devices(self) -> str:
        """What the jobs computed on."""
        return ", ".join(sorted({str(step.device) for step in self.steps if step.device})) or "–"

    @property
    def measured(self) -> int:
        """How many jobs were measured."""
        return sum(step.wall_s is not None for step in self.steps)

    @property
    def wall(self) -> str:
        """Their wall time, one after the other."""
        return duration(_total(step.wall_s for step in self.steps))

    @property
    def gpu(self) -> str:
        """Wall time of those that computed on a GPU."""
        if not any(step.on_gpu for step in self.steps):
            return "0" if any(step.device for step in self.steps) else "–"
        return duration(_total(step.wall_s for step in self.steps if step.on_gpu))

    @property
    def cpu(self) -> str:
        """Their processor time."""
        return duration(_total(step.cpu_s for step in self.steps))

    @property
    def memory(self) -> str:
        """The largest resident size of one of them."""
        sizes = [step.memory_mb for step in self.steps if step.memory_mb is not None]
        if not sizes:
            return "unknown"
        return f"{max(sizes) / 1000:.1f} GB" if max(sizes) >= 100 else "< 0.1 GB"

    @property
    def alike(self) -> list[list[Step]]:
        """Its jobs, those together whose settings differ in the names of models, variants, cases and adapters alone."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            own = {key: value for key, value in step.settings.items() if key not in NAMES}
            found.setdefault(json.dumps(own, sort_keys=True), []).append(step)
        return list(found.values())


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def duration(seconds: float | None) -> str:
    """A time for a table."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return "< 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def stages(steps: Iterable[Step]) -> list[Stage]:
    """The steps by stage, in the order in which they are given."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.stage, []).append(step)
    return [Stage(name, own) for name, own in found.items()]


def versions(steps: Iterable[Step]) -> dict[str, list[str]]:
    """Every package with the versions that the jobs ran with, and Python's."""
    found: dict[str, set[str]] = {}
    for step in steps:
        environment = step.provenance["environment"]
        named = {"python": environment["python"], **environment["packages"]}
        named |= step.provenance.get("spec", {}).get("packages", {})
        for name, version in named.items():
            if version:
                # Builds of one release are the same release.
                found.setdefault(name, set()).add(str(version).partition("+")[0])
    return {name: sorted(found[name]) for name in sorted(found)}


def commits(steps: Iterable[Step]) -> list[str]:
    """The commits that the jobs ran; unknown outside a checkout."""
    codes = [step.provenance["environment"]["code"] for step in steps]
    return sorted({f"{code['commit'] or 'unknown'}{' with changes' if code['dirty'] else ''}" for code in codes})


@dataclass(frozen=True, order=True)
class Machine:
    """What jobs ran on, as the report shows it.

    Attributes:
        host, system: its name, and its operating system with the kind of processor.
        processor: the processor's model.
        cores, memory: what jobs could use of it.
        gpus: those that its driver knows of.
    """

    host: str
    system: str
    processor: str
    cores: int
    memory: str
    gpus: str


def machines(steps: Iterable[Step]) -> dict[Machine, int]:
    """The machines, each with the number of jobs that ran on it; a host that gave jobs less is another machine then."""
    found = Counter(_machine(step.provenance["environment"]) for step in steps)
    return {machine: found[machine] for machine in sorted(found)}


def _machine(environment: Mapping[str, Any]) -> Machine:
    own = environment["hardware"]
    gpus = Counter(own["gpus"])
    return Machine(
        environment["scheduler"]["host"],
        f"{environment['system']}, {environment['machine']}",
        own["processor"],
        own["cores"],
        f"{own['memory_mb'] / 1000:.1f} GB",
        "; ".join(f"{count} × {name}" if count > 1 else name for name, count in gpus.items()) or "none",
    )


SHORT_TEXT = 300
"""Longer texts of a configuration, such as those that a model is to continue, are cut."""


def settings_of(step: Step) -> str:
    """The settings of a job as text, long texts and lists cut."""
    return json.dumps(_cut(step.settings), indent=2, ensure_ascii=False)


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > 20:
        return [*map(_cut, value[:20]), f"… {len(value) - 20} more"]
    if isinstance(value, list):
        return list(map(_cut, value))
    return f"{value[:SHORT_TEXT]}…" if isinstance(value, str) and len(value) > SHORT_TEXT else value
