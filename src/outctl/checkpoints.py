"""Long jobs that may be cut off at any moment: one writer an output, what is done is kept, a request to stop is heard."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from outctl.errors import OutctlError
from outctl.files import read_json, sha256_of, synchronise, write_json

SEAL = "seal.json"
"""The file of a sealed directory that holds the checksums of the others."""
PATIENCE = 60.0
"""Seconds between two lines of a job that waits."""


def _myself() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    end = f"scancel {job}" if job else f"kill {os.getpid()}"
    place = f" (Slurm job {job})" if job else ""
    return f"process {os.getpid()} on {socket.gethostname()}{place}; to end it: {end}"


@contextmanager
def only_writer(output: Path) -> Iterator[bool]:
    """Be the only one that works on an output: wait for others, and say whom for.

    A run of the workflow that was killed leaves jobs behind on a cluster, which go on; the next run's must not write
    beside them. The lock is the operating system's: it ends with the process that holds it, however that ends.

    Yields:
        Whether it had to wait, so that the other one may have made the output meanwhile.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.parent / f".{output.name}.lock"
    lock = FileLock(path)
    waited = False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=PATIENCE if waited else 0)
        except Timeout:
            waited = True
            holder = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            print(f"{output}: another job works on it; waiting for {holder or 'it'}")
    try:
        path.write_text(_myself(), encoding="utf-8")
        yield waited
    finally:
        # Before the release: whoever waits sees that this file is gone, and locks the one that follows it.
        path.unlink(missing_ok=True)
        lock.release()


class Stop:
    """Whether the job has been asked to stop (SIGTERM): before a time limit, a preemption, or by hand."""

    def __init__(self) -> None:
        self.requested = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        # A second request does not wait.
        signal.signal(number, signal.SIG_DFL)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the request, instead of ending at once, within this block."""
        previous = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)


def stopped(done: str) -> OutctlError:
    """The error in which a job ends that was asked to stop; `done` says how far it has come."""
    return OutctlError(f"asked to stop after {done}; what is done is kept, and the next start goes on from there")


def seal(directory: Path) -> None:
    """Flush a directory to the disk and record the checksum of every file in it: what has its seal is whole."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    for file in files:
        synchronise(file)
    write_json(directory / SEAL, {file.relative_to(directory).as_posix(): sha256_of(file) for file in files})


def is_sealed(directory: Path) -> bool:
    """Whether a directory is as it was when it was sealed."""
    try:
        checksums = read_json(directory / SEAL)
        return all(sha256_of(directory / name) == checksum for name, checksum in checksums.items())
    except (OutctlError, OSError, AttributeError):
        return False


def newest_sealed(directory: Path, pattern: str) -> Path | None:
    """The newest sealed directory among those that match a pattern; newer ones, which were cut off, are removed."""
    for found in sorted(directory.glob(pattern), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if is_sealed(found):
            return found
        shutil.rmtree(found)
    return None
