"""A contender in a process of its own, told what to do through a pipe; its time and its memory are measured there.

Memory is the largest resident size of the process (VmHWM of Linux), which is set back before every order.
"""

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PATIENCE_S = 10.0
"""Seconds that a contender has to end."""
LONGEST_S = 3600.0
"""Seconds after which a contender that gives no answer is given up."""


class Entry(Protocol):
    """A loaded contender. `choice` is one of the contender's choices."""

    def rehearse(self, choice: Any) -> Any:
        """Do a part of the work: to warm up, and to compare choices."""

    def run(self, choice: Any) -> Any:
        """Do all of the work and return what is to be reported."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes:
        name: how tables call it.
        load: makes the loaded contender from the setting; it runs in the child process and must be importable there.
        choices: ways in which it can be set; the fastest is taken.
    """

    name: str
    load: Callable[[Any], Entry]
    choices: tuple[Any, ...] = (None,)


class Sizes(NamedTuple):
    """Resident size of a process in MB: with its packages alone, and with what it loaded."""

    imported_mb: float
    loaded_mb: float


class Turn(NamedTuple):
    """What one call cost and gave: seconds, largest resident size in MB, the answer."""

    seconds: float
    peak_mb: float
    answer: Any


class FailedError(Exception):
    """A contender could not do what it was told; the message is one line."""


def _status_mb(key: str) -> float:
    """A size in the status of this process, such as VmHWM or VmRSS."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def _tidy() -> None:
    """Return freed memory to the system, so that it is not taken for memory in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _one_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {text}"[:300]


def _serve(pipe: Connection, contender: Contender, setting: Any, log: Path, limit_mb: float) -> None:
    """Life of a child process: load, then answer one order after the other until there is none."""
    with log.open("a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        # Without a limit, a choice that needs too much would have the system kill some process, not always this one.
        limit = int(limit_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        imported = _status_mb("VmRSS")
        entry = contender.load(setting)
        _tidy()
        pipe.send(Sizes(imported, _status_mb("VmRSS")))
    except BaseException as error:
        traceback.print_exc()
        pipe.send(_one_line(error))
        return
    while (order := pipe.recv()) is not None:
        method, arguments = order
        _tidy()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        try:
            start = time.perf_counter()
            answer = getattr(entry, method)(*arguments)
            reply: Turn | str = Turn(time.perf_counter() - start, _status_mb("VmHWM"), answer)
        except Exception as error:
            traceback.print_exc()
            reply = _one_line(error)
        # The others need the memory until the next order.
        _tidy()
        pipe.send(reply)


class Process:
    """A contender's child process, seen from the parent."""

    def __init__(self, contender: Contender, setting: Any, log: Path, limit_mb: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, contender, setting, log, limit_mb)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        try:
            self.sizes: Sizes = self._answer()
        except FailedError:
            self.close()
            raise

    def _answer(self) -> Any:
        try:
            answer = self.pipe.recv() if self.pipe.poll(LONGEST_S) else f"no answer within {LONGEST_S:.0f} s"
        except (EOFError, ConnectionError):
            answer = self._end()
        if isinstance(answer, str):
            raise FailedError(answer)
        return answer

    def _end(self) -> str:
        """How the process ended: in words where the system killed it, which it does when memory runs out."""
        self.process.join()
        code = self.process.exitcode
        return (
            "killed by the system, out of memory"
            if code == -signal.SIGKILL
            else f"its process ended with exit code {code}"
        )

    def ask(self, method: str, *arguments: Any) -> Turn:
        """Let the contender do something.

        Raises:
            FailedError: it could not, or its process ended.
        """
        try:
            self.pipe.send((method, arguments))
        except OSError:
            raise FailedError(self._end()) from None
        turn = self._answer()
        assert isinstance(turn, Turn)
        return turn

    def close(self) -> None:
        """End the process: by asking, or, where it does not listen, by force."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
