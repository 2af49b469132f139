"""Faults of a cluster: of its daemon, of its jobs, and of a Snakemake whose jobs are in Slurm's hands."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_table import FaultTable
from scene import Reference, Scene, Start
from slurm.cluster import Cluster, Job
from slurm.submission import QUICK
from workspace import ROOT, Workspace

pytestmark = pytest.mark.many_faults

LONGEST = 6.0
"""Seconds within which a fault strikes after its job has begun."""


def jobs(scene: Scene, cluster: Cluster, *states: str) -> list[Job]:
    """The jobs of a scene that are in one of the states."""
    return [
        job for job in cluster.jobs() if job.state in states and job.fields["WorkDir"] == str(scene.workspace.folder)
    ]


def running(scene: Scene, cluster: Cluster, state: str = "RUNNING") -> tuple[Start, Job]:
    """Start the workflow, and wait for a random moment of a random job that is in a state."""
    start = scene.start()
    rule = scene.draw.choice(["evaluate", "finetune"])

    def seen() -> list[Job]:
        assert start.going, start.wait().output
        return [job for job in jobs(scene, cluster, state) if rule in job.comment]

    job = cluster.wait(f"a job of {rule} that is {state}", seen, 300)[0]
    time.sleep(scene.draw.uniform(0, LONGEST))
    scene.moment = f"{start.seconds:.1f} s, {rule} {state.lower()}"
    return start, job


def kill_slurmd(scene: Scene, cluster: Cluster) -> None:
    """Slurm's daemon dies on the node, and is started again."""
    start, _ = running(scene, cluster)
    cluster.kill("slurmd")
    time.sleep(scene.draw.uniform(0, LONGEST))
    cluster.launch("slurmd")
    scene.ended(start)


def cancel(scene: Scene, cluster: Cluster) -> None:
    """A job is cancelled."""
    start, job = running(scene, cluster)
    cluster.run("scancel", job.id)
    scene.ended(start)


def requeue(scene: Scene, cluster: Cluster) -> None:
    """A job is put back into the queue, as for a job of higher priority or before maintenance."""
    start, job = running(scene, cluster)
    cluster.run("scontrol", "requeue", job.id)
    scene.ended(start)


def kill_snakemake(scene: Scene, cluster: Cluster) -> None:
    """Snakemake is killed; the next one's jobs wait for those that are still running."""
    start, _ = running(scene, cluster)
    start.process.kill()
    scene.ended(start)


def kill_snakemake_before_its_jobs_begin(scene: Scene, cluster: Cluster) -> None:
    """Snakemake is killed, and its jobs begin only when the next one's are in the queue too: they must refuse to work."""
    cluster.drain()
    start, job = running(scene, cluster, "PENDING")
    start.process.kill()
    scene.ended(start)
    left = len(jobs(scene, cluster, "PENDING"))

    def resume() -> None:
        deadline = time.monotonic() + 300
        while len(jobs(scene, cluster, "PENDING")) <= left and time.monotonic() < deadline:
            time.sleep(0.2)
        cluster.resume()

    thread = threading.Thread(target=resume)
    thread.start()
    scene.to_the_end()
    thread.join()
    (log,) = (scene.workspace.results / "logs" / "slurm").rglob(f"*{job.id}*")
    assert "outctl: this job was left in the queue by a run that has ended" in log.read_text()


FAULTS: dict[str, tuple[Callable[[Scene, Cluster], None], int]] = {
    "kill -9 of slurmd, started again": (kill_slurmd, 2),
    "scancel of a job": (cancel, 2),
    "requeue of a job": (requeue, 1),
    "kill -9 of Snakemake, its Slurm jobs go on": (kill_snakemake, 2),
    "kill -9 of Snakemake, its Slurm jobs begin later": (kill_snakemake_before_its_jobs_begin, 1),
}
"""Every fault, and how often it is tried."""


@pytest.fixture(scope="module")
def table() -> Iterator[FaultTable]:
    """A row for each fault."""
    table = FaultTable("faults on a cluster")
    yield table
    table.publish()


@pytest.mark.parametrize(
    ("name", "number"),
    [pytest.param(name, number, id=f"{name} {number + 1}") for name in FAULTS for number in range(FAULTS[name][1])],
)
def test_a_fault_changes_no_result(
    name: str, number: int, reference: Reference, cluster: Cluster, table: FaultTable, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path.resolve() / "disturbed", reference.prepared.config)
    path = f"{cluster.directory / 'bin'}{os.pathsep}{workspace.environment['PATH']}"
    scene = Scene(
        workspace,
        reference,
        random.Random(f"{name} {number}"),
        ("--profile", str(ROOT / "slurm"), *QUICK),
        cluster.environment | {"PATH": path},
    )
    with table.row(name, scene):
        scene.prepare()
        FAULTS[name][0](scene, cluster)
        scene.to_the_end()
        scene.check()
