"""Locks of the operating system: a lock ends with the process that holds it, however that ends, so none is ever stale."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""How file systems answer that keep no locks."""
POLL = 0.2
"""Seconds between two looks at a lock that another process holds."""
PATIENCE = 60.0
"""Seconds between two lines of a job that waits."""


class Lock:
    """A file that one process at a time can hold; its text says who does.

    Args:
        path: the file. It is there while it is held, and after a holder that was killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def holder(self) -> str:
        """What the process said of itself that holds the file, or that was killed while it did; nothing without either."""
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def acquire(self, text: str) -> bool:
        """Hold the file, unless another process does.

        Args:
            text: what to say of this process.

        Returns:
            Whether it is held now.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not self._lock(handle):
                    os.close(handle)
                    return False
                same = os.path.samestat(os.fstat(handle), self._path.stat())
            except FileNotFoundError:
                same = False
            except BaseException:
                os.close(handle)
                raise
            if same:
                break
            # Its holder removed the file between the opening and the locking; a lock on it would keep nobody out.
            os.close(handle)
        self._handle = handle
        # The lock holds without its text too, on a disk that is full.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode(), 0)
        return True

    def held(self) -> bool:
        """Whether a process holds the file."""
        try:
            handle = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not self._lock(handle)
        finally:
            os.close(handle)

    def release(self) -> None:
        """Let go, and remove the file."""
        if self._handle is None:
            return
        # Before the release: whoever waits sees that this file is gone, and locks the one that follows it.
        self._path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None

    def _lock(self, handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            print(f"{self._path}: this file system keeps no locks; see to it that one run at a time writes here")
        return True


def describe_process() -> str:
    """This process, and the command that ends it."""
    job = os.environ.get("SLURM_JOB_ID")
    place = f"{os.uname().nodename}, Slurm job {job}" if job else os.uname().nodename
    return f"process {os.getpid()} on {place} (to end it: {f'scancel {job}' if job else f'kill {os.getpid()}'})"


def _beside(output: Path) -> Path:
    return output.parent / f".{output.name}.lock"


class BusyError(Exception):
    """Somebody else works on an output."""


@contextmanager
def only_writer(output: Path, wait: bool = True) -> Iterator[None]:
    """Be the only one that works on an output: wait for others, who may make it meanwhile, and say whom for.

    A run of the workflow that was killed leaves jobs behind, which go on; the next run's must not write beside them.
    What writers that were killed left half-written is removed.

    Raises:
        BusyError: somebody else works on it, and they are not to be waited for.
    """
    lock = Lock(_beside(output))
    told: float | None = None
    while not lock.acquire(describe_process()):
        if not wait:
            raise BusyError
        if told is None or time.monotonic() - told >= PATIENCE:
            told = time.monotonic()
            # At once, into files too: whoever looks wants to know now what it waits for.
            print(f"{output}: another job works on it; waiting for {lock.holder() or 'it'}", flush=True)
        time.sleep(POLL)
    try:
        for leftover in output.parent.glob(f".{output.name}.????????.*"):
            if leftover.suffix in (".tmp", ".old"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield
    finally:
        lock.release()


def writer_of(output: Path) -> str | None:
    """The process that works on an output; None if none does."""
    lock = Lock(_beside(output))
    return lock.holder() if lock.held() else None
