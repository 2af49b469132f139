"""What this machine has: memory where control groups limit it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from outctl.machine.memory import GroupMemory, available_memory, control_groups

LIMIT = 700_000_000
GROUPS = Path("/sys/fs/cgroup")
SECOND_VERSION = ("memory.max", "memory.current", "inactive_file")
FIRST_VERSION = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group of this machine with a limit of memory."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    (second,) = [path for _, controllers, path in lines if not controllers] or [""]
    (first,) = [path for _, controllers, path in lines if "memory" in controllers.split(",")] or [""]
    root, limit = (GROUPS / "memory" / first.lstrip("/"), FIRST_VERSION[0]) if first else (GROUPS, SECOND_VERSION[0])
    # Groups of the second version that hold processes have no limited ones within: beside, not below.
    if not first:
        root = (root / second.lstrip("/")).parent if second.strip("/") else root
    group = root / f"outctl-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        try:
            (group / limit).write_text(str(LIMIT))
        except OSError as error:
            pytest.skip(f"control groups cannot be limited here: {error}")
        yield group
    finally:
        group.rmdir()


def test_a_control_group_limits_the_memory_that_is_planned_with(limited_group: Path) -> None:
    asked = "from outctl.machine.memory import available_memory, memory_mb; print(available_memory(), *memory_mb())"
    join = f'echo $$ > {limited_group}/cgroup.procs; exec "{sys.executable}" -c "{asked}"'
    printed = subprocess.run(["sh", "-c", join], check=True, capture_output=True, text=True).stdout
    available, total, limit = printed.strip().split(" ", 2)
    # The process itself takes some of it.
    assert LIMIT - 300_000_000 < int(available) < LIMIT
    assert (int(total), limit) == (LIMIT // 4096 * 4096 // 10**6, "as much as its control group may have")


def test_without_a_limit_the_machine_s_free_memory_counts() -> None:
    free = psutil.virtual_memory().available
    limits = [group.free for group in control_groups()]
    assert available_memory() == pytest.approx(min([free, *limits]), rel=0.2)


def write_group(folder: Path, files: tuple[str, str, str], limit: str, used: int, droppable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(files, (limit, str(used), f"anon 5\n{files[2]} {droppable}\nshmem 0"), strict=True):
        (folder / (name if name.startswith("memory.") else "memory.stat")).write_text(f"{text}\n")


def test_groups_of_the_second_version_are_read_up_to_the_outermost(tmp_path: Path) -> None:
    job = tmp_path / "groups" / "system.slice" / "slurmstepd.scope" / "job_7"
    write_group(job, SECOND_VERSION, "8000", 3000, 1000)
    write_group(job / "step_0", SECOND_VERSION, "max", 2000, 500)
    write_group(job.parent, SECOND_VERSION, "20000", 19000, 100)
    process = tmp_path / "cgroup"
    process.write_text("0::/system.slice/slurmstepd.scope/job_7/step_0\n")
    assert control_groups(process, tmp_path / "groups") == [GroupMemory(8000, 6000), GroupMemory(20000, 1100)]


def test_groups_of_the_first_version_are_found_among_other_controllers(tmp_path: Path) -> None:
    process = tmp_path / "cgroup"
    process.write_text("5:cpu,cpuacct:/job_7\n4:memory,hugetlb:/slurm/job_7\n1:name=systemd:/a:b\n0::/\n")
    write_group(tmp_path / "groups" / "memory" / "slurm" / "job_7", FIRST_VERSION, "9000", 4000, 500)
    write_group(tmp_path / "groups" / "cpu" / "job_7", FIRST_VERSION, "1", 1, 0)
    assert control_groups(process, tmp_path / "groups") == [GroupMemory(9000, 5500)]


def test_in_a_container_the_root_is_its_own_group(tmp_path: Path) -> None:
    process = tmp_path / "cgroup"
    process.write_text("0::/kubepods/pod1/container2\n")
    write_group(tmp_path / "groups", SECOND_VERSION, "6000", 1000, 0)
    assert control_groups(process, tmp_path / "groups") == [GroupMemory(6000, 5000)]


def test_a_system_without_control_groups_has_none(tmp_path: Path) -> None:
    assert control_groups(tmp_path / "cgroup", tmp_path) == []
