"""What this machine has: processors, memory, GPUs, disk space, a cluster, the package index. Nothing here raises."""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from outctl.errors import first_line

SECONDS = 10.0
"""What a program of a cluster or of a driver may take to answer."""
COMPUTE_SECONDS = 120.0
"""What importing torch and quantising a layer may take, on a busy machine with a slow disk."""
CPU_TYPES = ("avx512_bf16", "amx_bf16")
"""Flags of processors that compute in bfloat16."""


@dataclass(frozen=True)
class ProgramOutput:
    """How a program ended.

    Attributes:
        output: what it printed; None where it is missing, failed or took too long.
        reason: then why, in one line.
    """

    output: str | None
    reason: str = ""


def ask(command: Sequence[str], seconds: float = SECONDS) -> ProgramOutput:
    """Run a program that answers at once."""
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return ProgramOutput(None, f"there is no {command[0]}")
    except subprocess.TimeoutExpired:
        return ProgramOutput(None, f"no answer within {seconds:.0f} s")
    except (OSError, subprocess.SubprocessError, MemoryError) as error:
        return ProgramOutput(None, first_line(error))
    if result.returncode:
        said = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        return ProgramOutput(None, said[-1].strip() if said else f"exit code {result.returncode}")
    return ProgramOutput(result.stdout)


def processor() -> str:
    """Model name of the processor; the kind of processor where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class GroupMemory:
    """Memory of a control group, in bytes.

    Attributes:
        limit: what its processes may have together.
        free: what is left of that, with what it holds of files that nothing has read of late, which the kernel drops first.
    """

    limit: int
    free: int


def control_groups(
    process: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> list[GroupMemory]:
    """The control groups for memory that this process is in, from its own to the outermost.

    Clusters and containers limit jobs so, and the kernel ends who takes more. Both versions of the interface are known
    (https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html).

    Args:
        process: the file in which the kernel lists the groups of this process.
        mounted: where the groups are mounted.
    """
    try:
        lines = process.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            # Beside groups of the first version they lie in a folder of their own.
            root = mounted / "unified" if (mounted / "unified").is_dir() else mounted
            files, droppable = ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            root, files = mounted / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            droppable = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        # Within a container the path may be the host's: then only the root, which is the container's group, is there.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            try:
                limit, used = (int((folder / name).read_text()) for name in files)
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                found.append(GroupMemory(limit, limit - used + int(counts.get(droppable, 0))))
            except (OSError, ValueError):
                # No limit, which reads `max`, or no such group.
                continue
    return found


def memory_mb() -> tuple[int, str]:
    """Memory that a job can have here, in MB, and what limits it: the machine, its control group or `ulimit -v`."""
    limits = [(psutil.virtual_memory().total, "all of the machine's")]
    limits += [(group.limit, "as much as its control group may have") for group in control_groups()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append((soft, "as much as `ulimit -v` allows"))
    total, what = min(limits)
    return total // 10**6, what


def available_memory() -> int:
    """Memory in bytes that this process could take now: of the machine, and of every control group that it is in."""
    machine: int = psutil.virtual_memory().available
    return max(0, min([machine, *(group.free for group in control_groups())]))


def bfloat16_flags() -> list[str]:
    """By which extensions the CPU computes in bfloat16; none where it does not, or does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
    return [name for name in CPU_TYPES if name in flags]


def free_mb(directory: Path) -> int | None:
    """Room on the disk where a directory lies or would lie, in MB; None where that cannot be told."""
    path = directory.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free // 10**6
    except OSError:
        return None


def is_writable(directory: Path) -> bool:
    """Whether files can be made in a directory, or it in the nearest one above that exists."""
    path = directory.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def driver_gpus() -> list[str]:
    """GPUs that the driver knows of, whether or not torch can use them."""
    answer = ask(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return [line.strip() for line in (answer.output or "").splitlines() if line.strip()]


def compute() -> tuple[dict[str, Any], str]:
    """What `outctl.machine.compute_probe` prints, and why it does not where it does not."""
    answer = ask([sys.executable, "-m", "outctl.machine.compute_probe"], COMPUTE_SECONDS)
    if answer.output is None:
        return {}, answer.reason
    try:
        found: dict[str, Any] = json.loads(answer.output.splitlines()[-1])
    except (ValueError, IndexError):
        return {}, "it printed something else than expected"
    return found, ""


def package_index_reason(package: str) -> str:
    """Why pip cannot ask the package index for a package, by the user's own settings; empty where it can."""
    command = [sys.executable, "-m", "pip", "index", "versions", package, "--disable-pip-version-check"]
    # The network has 3 s; the rest is for a busy machine.
    return ask([*command, "--timeout", "3", "--retries", "0"], 30.0).reason
