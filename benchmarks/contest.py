"""Contenders side by side: each in a process of its own that loads once and then runs when it is told.

Repeats alternate between the contenders, so that whatever else the machine does meets all of them alike. A contender that
can be set in several ways (a batch size, say) tries them beforehand on a part of the work, in a process that ends then:
what the tries leave in memory must not count for the measured runs.

A contender's memory is the largest resident size of its process (VmHWM of Linux), which is set back before every run.
"""

import ctypes
import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

SETTLE_S = 0.5
"""Pause before a run: the threads of the contender that ran before keep spinning for a while."""
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
        limited: whether the limit of memory holds for it. Where a library reserves far more than it uses, it cannot.
    """

    name: str
    load: Callable[[Any], Entry]
    choices: tuple[Any, ...] = (None,)
    limited: bool = True


class Turn(NamedTuple):
    """What one call cost and gave: seconds, largest resident size in MB, the answer."""

    seconds: float
    peak_mb: float
    answer: Any


class FailedError(Exception):
    """A contender could not do what it was told; the message is one line."""


@dataclass
class Result:
    """Everything about one contender.

    Attributes:
        name: how tables call it.
        choice: the choice that it ran with.
        loaded_mb: resident size after loading.
        tried: seconds of each choice's rehearsal, or why it failed.
        turns: its runs.
        check: what it answered to the check, if it was asked.
        failure: one line, if it failed.
    """

    name: str
    choice: Any = None
    loaded_mb: float = 0.0
    tried: dict[str, float | str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    check: Any = None
    failure: str | None = None

    @property
    def peak_mb(self) -> float:
        """Median of the runs' largest resident sizes."""
        return median(turn.peak_mb for turn in self.turns)


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
        if contender.limited:
            # Without a limit, a choice that needs too much would have the system kill some process, not always this one.
            limit = int(limit_mb * 2**20)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        entry = contender.load(setting)
        _tidy()
        pipe.send(_status_mb("VmRSS"))
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
            pipe.send(Turn(time.perf_counter() - start, _status_mb("VmHWM"), answer))
        except Exception as error:
            traceback.print_exc()
            pipe.send(_one_line(error))


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
            self.loaded_mb: float = self._answer()
        except FailedError:
            self.close()
            raise

    def _answer(self) -> Any:
        try:
            answer = self.pipe.recv() if self.pipe.poll(LONGEST_S) else f"no answer within {LONGEST_S:.0f} s"
        except (EOFError, ConnectionError):
            self.process.join()
            answer = f"its process ended with exit code {self.process.exitcode}"
        if isinstance(answer, str):
            raise FailedError(answer)
        return answer

    def ask(self, method: str, *arguments: Any) -> Turn:
        """Let the contender do something.

        Raises:
            FailedError: it could not, or its process ended.
        """
        try:
            self.pipe.send((method, arguments))
        except OSError as error:
            raise FailedError(_one_line(error)) from None
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


def available_mb() -> float:
    """Memory that this machine has left."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024


class Contest:
    """Contenders of one benchmark.

    Args:
        contenders: who takes part.
        setting: what each of them gets.
        logs: folder for what the child processes print.
    """

    def __init__(self, contenders: Sequence[Contender], setting: Any, logs: Path) -> None:
        self.contenders = contenders
        self.setting = setting
        self.logs = logs
        self.limit_mb = 0.8 * available_mb()

    def _start(self, contender: Contender) -> Process:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{contender.name.replace(' ', '-').replace('/', '-')}.log"
        return Process(contender, self.setting, log, self.limit_mb)

    def _try_choices(self, contender: Contender, result: Result) -> None:
        """Find the fastest choice, in a process that ends before the measured runs.

        Raises:
            FailedError: no choice works.
        """
        if len(contender.choices) == 1:
            (result.choice,) = contender.choices
            return
        seconds: dict[Any, float] = {}
        process = self._start(contender)
        for choice in contender.choices:
            try:
                process.ask("rehearse", choice)
                seconds[choice] = process.ask("rehearse", choice).seconds
                result.tried[str(choice)] = seconds[choice]
            except FailedError as error:
                result.tried[str(choice)] = str(error)
                process.close()
                process = self._start(contender)
        process.close()
        if not seconds:
            raise FailedError("; ".join(f"{choice}: {why}" for choice, why in result.tried.items()))
        result.choice = min(seconds, key=lambda choice: seconds[choice])

    def hold(self, repeats: int, method: str = "run", check: str | None = None) -> list[Result]:
        """Run all contenders in turn.

        Args:
            repeats: runs of each.
            method: what a run is.
            check: a method that every contender is asked once after the runs, without timing it.

        Returns:
            A result for each contender, in their order.
        """
        results = {contender.name: Result(contender.name) for contender in self.contenders}
        running: dict[str, Process] = {}

        def attempt(name: str, act: Callable[[], None]) -> None:
            try:
                act()
            except FailedError as error:
                results[name].failure = str(error)
                print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
                if name in running:
                    running.pop(name).close()

        def prepare(contender: Contender) -> None:
            result = results[contender.name]
            self._try_choices(contender, result)
            running[contender.name] = self._start(contender)
            result.loaded_mb = running[contender.name].loaded_mb
            running[contender.name].ask("rehearse", result.choice)

        def turn(name: str) -> None:
            time.sleep(SETTLE_S)
            results[name].turns.append(running[name].ask(method, results[name].choice))
            print(f"{name}: {results[name].turns[-1].seconds:.2f} s", file=sys.stderr, flush=True)

        def answer_check(name: str, method: str) -> None:
            results[name].check = running[name].ask(method).answer

        for contender in self.contenders:
            attempt(contender.name, lambda contender=contender: prepare(contender))  # type: ignore[misc]
        for _ in range(repeats):
            for name in list(running):
                attempt(name, lambda name=name: turn(name))  # type: ignore[misc]
        if check is not None:
            for name in list(running):
                attempt(name, lambda name=name: answer_check(name, check))  # type: ignore[misc]
        for process in running.values():
            process.close()
        return list(results.values())
