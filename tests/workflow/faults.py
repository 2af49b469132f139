"""What can happen to a run of the workflow: each fault strikes at a seeded random moment."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from scene import Scene, Start

LAST_BYTES = 48 * 1024
"""Room that is left on a full disk at most."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: what happens, for the table.
        strike: does it to a scene.
        times: how often it is tried, each time at another moment.
    """

    name: str
    strike: Callable[[Scene], None]
    times: int = 1


def _signal(process: psutil.Process | None, number: int) -> None:
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _signal_a_job(scene: Scene, number: int) -> tuple[Start, psutil.Process | None]:
    start = scene.running("outctl")
    job = next(iter(start.jobs()), None)
    _signal(job, number)
    return start, job


def kill_job(scene: Scene) -> None:
    """kill -9 of a job."""
    start, _ = _signal_a_job(scene, signal.SIGKILL)
    scene.ended(start)


def stop_job(scene: Scene) -> None:
    """SIGTERM to a job."""
    start, _ = _signal_a_job(scene, signal.SIGTERM)
    scene.ended(start)


def time_out(scene: Scene) -> None:
    """SIGTERM to a job, and SIGKILL soon after it."""
    start, job = _signal_a_job(scene, signal.SIGTERM)
    time.sleep(scene.draw.uniform(0, 0.5))
    _signal(job, signal.SIGKILL)
    scene.ended(start)


def kill_snakemake(scene: Scene) -> None:
    """kill -9 of Snakemake, whose jobs go on while it is started again."""
    start = scene.running()
    start.process.kill()
    scene.ended(start)


def kill_snakemake_for_long(scene: Scene) -> None:
    """kill -9 of Snakemake, whose jobs have ended when it is started again."""
    start = scene.running("outctl")
    start.process.kill()
    scene.ended(start)
    psutil.wait_procs(start.jobs(), 120)


def kill_both(scene: Scene) -> None:
    """kill -9 of Snakemake and its jobs."""
    start = scene.running()
    start.process.kill()
    scene.ended(start)
    for job in start.jobs():
        _signal(job, signal.SIGKILL)


def stop_snakemake(scene: Scene) -> None:
    """SIGTERM to Snakemake."""
    start = scene.running()
    start.process.terminate()
    scene.ended(start)


def interrupt_snakemake(scene: Scene) -> None:
    """SIGINT to Snakemake alone."""
    start = scene.running()
    start.process.send_signal(signal.SIGINT)
    scene.ended(start)


def interrupt_terminal(scene: Scene) -> None:
    """Ctrl-C: SIGINT to Snakemake and its jobs."""
    start = scene.running()
    with suppress(ProcessLookupError):
        os.killpg(start.session, signal.SIGINT)
    scene.ended(start)


def fill_disk(scene: Scene) -> None:
    """No room left on the file system of the results."""
    ballast = scene.workspace.results / "ballast"
    start = scene.running()
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(LAST_BYTES))
    os.truncate(ballast, ballast.stat().st_size - scene.draw.randrange(LAST_BYTES))
    run = scene.ended(start)
    if run.code != 0:
        lines = [line for line in run.output.splitlines() if line.startswith("outctl: ") and "the disk is full" in line]
        assert lines, run.output
    ballast.unlink()
    scene.typed.append("`rm` of what fills the disk")


def _truncate(scene: Scene, file: Path) -> None:
    os.truncate(file, scene.draw.randrange(file.stat().st_size))
    scene.moment += f", {file.relative_to(scene.workspace.folder)}"


def truncated(pattern: str) -> Callable[[Scene], None]:
    """A file of a finished experiment is cut off at a random place."""

    def strike(scene: Scene) -> None:
        shutil.copytree(scene.reference.finished.folder, scene.workspace.folder, dirs_exist_ok=True)
        _truncate(scene, scene.draw.choice(sorted(scene.workspace.folder.glob(pattern))))

    return strike


def truncate_checkpoint(scene: Scene) -> None:
    """Snakemake and its jobs are killed, and a file of the newest checkpoint is cut off."""
    checkpoints = scene.workspace.results / "checkpoints"
    seals: list[Path] = []
    while not seals:
        start = scene.running("finetune")
        while "finetune" in start.doing() and not (seals := list(checkpoints.glob("*/checkpoint-*/seal.json"))):
            time.sleep(0.01)
        scene.note(start)
        start.process.kill()
        scene.ended(start)
        for job in start.jobs():
            _signal(job, signal.SIGKILL)
        seals = sorted(checkpoints.glob("*/checkpoint-*/seal.json"), key=lambda seal: seal.stat().st_mtime_ns)
    _truncate(scene, scene.draw.choice(sorted(file for file in seals[-1].parent.iterdir() if file.stat().st_size)))


def truncate_part(scene: Scene) -> None:
    """Snakemake and its jobs are killed, and the newest kept part of an evaluation is cut off."""
    checkpoints = scene.workspace.results / "checkpoints"
    parts: list[Path] = []
    while not parts:
        start = scene.running("evaluate")
        while "evaluate" in start.doing() and not list(checkpoints.glob("*/parts/*.jsonl")):
            time.sleep(0.01)
        scene.note(start)
        start.process.kill()
        scene.ended(start)
        for job in start.jobs():
            _signal(job, signal.SIGKILL)
        parts = sorted(checkpoints.glob("*/parts/*.jsonl"), key=lambda part: part.stat().st_mtime_ns)
    _truncate(scene, parts[-1])


def _second(scene: Scene, *arguments: str, said: str) -> None:
    """Start the workflow a second time while it is going, which is refused, and let the first go on."""
    first = scene.running("outctl")
    second = scene.workspace.snakemake(*arguments)
    if first.going:
        assert second.code != 0, second.output
        assert said in second.output, second.output
        assert "Traceback" not in second.output, second.output
    run = scene.ended(first)
    assert run.code == 0, run.output


def second_start(scene: Scene) -> None:
    """A second start with the same settings."""
    _second(scene, said="a run of the workflow is still going (process ")


def second_start_of_other_settings(scene: Scene) -> None:
    """A second start with other settings."""
    _second(scene, "--config", "seed=1", said="a run of the workflow is still going (process ")


def dry_run_of_other_settings(scene: Scene) -> None:
    """A dry run with other settings."""
    first = scene.running("outctl")
    second = scene.workspace.snakemake("--dry-run", "--config", "seed=1")
    assert second.code == 0, second.output
    run = scene.ended(first)
    assert run.code == 0, run.output


def unlocked_second_start(scene: Scene) -> None:
    """The lock is removed by hand, and the workflow is started a second time."""
    first = scene.running("outctl")
    scene.workspace.snakemake("--unlock")
    second = scene.workspace.snakemake()
    if first.going:
        assert second.code != 0, second.output
        assert "a run of the workflow is still going (process " in second.output, second.output
    run = scene.ended(first)
    assert run.code == 0, run.output


def edit_configuration(scene: Scene) -> None:
    """The configuration is edited while the workflow runs, and put back afterwards."""
    first = scene.running("outctl")
    file = scene.workspace.folder / "experiment.yaml"
    before = file.read_text()
    file.write_text(yaml.safe_dump(yaml.safe_load(before) | {"seed": random.Random(before).randrange(1, 100)}))
    run = scene.ended(first)
    file.write_text(before)
    assert run.code == 0, run.output


FAULTS = (
    Fault("kill -9 of a job", kill_job, 3),
    Fault("SIGTERM to a job", stop_job, 2),
    Fault("time-out: SIGTERM, then kill -9 of a job", time_out, 2),
    Fault("kill -9 of Snakemake, started again at once", kill_snakemake, 3),
    Fault("kill -9 of Snakemake, started again later", kill_snakemake_for_long, 2),
    Fault("kill -9 of Snakemake and its jobs", kill_both, 3),
    Fault("SIGTERM to Snakemake", stop_snakemake),
    Fault("SIGINT to Snakemake", interrupt_snakemake, 2),
    Fault("Ctrl-C", interrupt_terminal, 2),
    Fault("disk full", fill_disk, 3),
    Fault("truncated weights of the model", truncated("models/*/*.safetensors")),
    Fault("truncated adapter", truncated("results/adapters/*/*/*.safetensors")),
    Fault("truncated records", truncated("results/evaluations/*/*/given.jsonl")),
    Fault("truncated provenance", truncated("results/**/*provenance.json")),
    Fault("truncated samples", truncated("results/samples/*/*[a-z].jsonl")),
    Fault("truncated table", truncated("results/*.csv")),
    Fault("truncated specification", truncated("results/specs/*/**/*@*.json")),
    Fault("kill -9 of both, truncated checkpoint", truncate_checkpoint, 2),
    Fault("kill -9 of both, truncated part of an evaluation", truncate_part),
    Fault("a second start", second_start),
    Fault("a second start with other settings", second_start_of_other_settings),
    Fault("a second start after `--unlock`", unlocked_second_start),
    Fault("a dry run with other settings meanwhile", dry_run_of_other_settings),
    Fault("configuration edited meanwhile", edit_configuration),
)
"""Every fault; together they are tried some forty times."""

QUICK = {("kill -9 of Snakemake, started again at once", 0), ("disk full", 0)}
"""What is tried in every run of the tests, by name and number."""
