"""Contenders side by side: each in a process of its own that loads once and then runs when it is told.

Repeats alternate between the contenders, so that whatever else the machine does meets all of them alike. A contender that
can be set in several ways (a batch size, say) tries them beforehand on a part of the work, in a process that ends then:
what the tries leave in memory must not count for the measured runs.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from child import Contender, FailedError, Process, Turn

SETTLE_S = 0.5
"""Pause before a run: the threads of the contender that ran before keep spinning for a while."""


@dataclass
class Result:
    """Everything about one contender.

    Attributes:
        name: how tables call it.
        choice: the choice that it ran with.
        imported_mb: resident size before loading, of Python and packages alone.
        loaded_mb: resident size after loading.
        tried: seconds of each choice's rehearsal, or why it failed.
        turns: its runs.
        check: what it answered to the check, if it was asked.
        failure: one line, if it failed.
    """

    name: str
    choice: Any = None
    imported_mb: float = 0.0
    loaded_mb: float = 0.0
    tried: dict[str, float | str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    check: Any = None
    failure: str | None = None

    @property
    def peak_mb(self) -> float:
        """Median of the runs' largest resident sizes."""
        return median(turn.peak_mb for turn in self.turns)


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
            result.imported_mb, result.loaded_mb = running[contender.name].sizes
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
