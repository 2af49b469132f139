"""Whatever happens to a run of the workflow, a few starts later the results are those of a run to which nothing happened."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_table import FaultTable
from faults import FAULTS, QUICK, Fault
from scene import Reference, Scene
from workspace import Workspace

pytestmark = pytest.mark.slow

TRIES = [(fault, number) for fault in FAULTS for number in range(fault.times)]
PARAMETERS = [
    pytest.param(
        fault,
        number,
        id=f"{fault.name} {number + 1}",
        marks=[] if (fault.name, number) in QUICK else [pytest.mark.many_faults],
    )
    for fault, number in TRIES
]


@pytest.fixture(scope="module")
def table() -> Iterator[FaultTable]:
    """A row for each fault."""
    table = FaultTable("faults")
    yield table
    table.publish()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 24 MB in memory at a folder."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    result = subprocess.run(mount, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(("fault", "number"), PARAMETERS)
def test_a_fault_changes_no_result(
    fault: Fault, number: int, reference: Reference, table: FaultTable, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "disturbed", reference.prepared.config)
    scene = Scene(workspace, reference, random.Random(f"{fault.name} {number}"))
    with small_disk(workspace.results), table.row(fault.name, scene):
        scene.prepare()
        fault.strike(scene)
        scene.to_the_end()
        scene.check()
