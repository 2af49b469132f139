"""Long jobs that may be cut off at any moment: what is done is kept, and a request to stop is heard."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from outctl.errors import OutctlError
from outctl.storage.files import read_json, sha256_of, synchronise, write_json

Handler = Callable[[int, FrameType | None], Any] | int | None

SEAL = "seal.json"
"""The file of a sealed directory that holds the checksums of the others."""


class Stop:
    """Whether the job has been asked to stop (SIGTERM): before a time limit, a preemption, or by hand."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: Handler = signal.SIG_DFL

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        # A second request does not wait.
        signal.signal(number, self._previous)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the request, instead of ending at once, within this block."""
        self._previous = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, self._previous)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Signal handler: end with one line and a failure.

    Raised as an exception, the request might be caught by whatever is running, or printed with all that is.
    """
    os.write(2, b"outctl: asked to stop; what is done is kept, and the next start goes on from there\n")
    os._exit(1)


def end_well(number: int, frame: FrameType | None) -> None:
    """Signal handler: end with one line and success, in a job whose own work is done."""
    os.write(2, b"outctl: asked to stop; the job's own work is done, and what others wait for is left to them\n")
    os._exit(0)


def stopped(done: str) -> OutctlError:
    """The error in which a job ends that was asked to stop; `done` says how far it has come."""
    return OutctlError(f"asked to stop after {done}; what is done is kept, and the next start goes on from there")


def chosen_once(file: Path, choose: Callable[[], int]) -> int:
    """A number that a job chooses by what it finds, and keeps in a file, so that a resumed one computes the same."""
    try:
        kept = read_json(file)
    except OutctlError:
        kept = None
    if not isinstance(kept, int):
        write_json(file, kept := choose())
    return kept


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
