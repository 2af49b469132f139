"""Ending a throw-away Slurm with all its jobs, also when whoever started it was killed.

`python leftovers.py DIRECTORY` waits until its standard input ends, which it does with the process that holds the other
end, then ends all that belongs to the cluster in that directory and removes the directory.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "THROWAWAY_CLUSTER"
"""Environment variable that names the cluster's directory, in every process that was started on it. No `SLURM_` in front:
those are taken from the environment of jobs."""


def belongs(process: Path, directory: Path) -> bool:
    """Whether a process, given as its folder below /proc, was started on the cluster of a directory."""
    with suppress(OSError):
        if f"{MARK}={directory}".encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        # A job's slurmstepd writes its title over its environment, but stays in the folder that slurmd was started in.
        if (process / "exe").readlink().name.startswith("slurmstepd"):
            return (process / "cwd").readlink() == directory
    return False


def running(directory: Path) -> list[int]:
    """Ids of all processes of the cluster of a directory."""
    processes = [process for process in Path("/proc").iterdir() if process.name.isdigit()]
    return [int(process.name) for process in processes if belongs(process, directory)]


def end(directory: Path) -> None:
    """Kill all processes of the cluster of a directory, and remove it. Nothing in it is worth a gentle end."""
    deadline = time.monotonic() + 30
    while (left := running(directory)) and time.monotonic() < deadline:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    end(Path(sys.argv[1]))
