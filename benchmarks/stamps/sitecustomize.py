"""Writes down what a Python process spends its time on: `benchmarks/make_run.py` puts this on the path of a whole run.

At its end the process writes its command and the moments at which its main thread went from one phase to another:
`imports`, `loading` a model, and everything else. Imports are seen where CPython looks for a module that is not loaded yet,
so the interpreter's own start counts among them; loading is what runs inside the functions of `LOADING`, but for the
imports in there. Moments are seconds since the machine was started, which are the same in all processes.
"""

import atexit
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

LOADING = {"outctl.models.loading": "load_model", "outctl.inference.engine_check": "choose_engine"}
"""The functions that make a model ready, by module."""


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _process_start() -> float:
    # The command's name, in brackets, may hold spaces.
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


class Phases:
    """The phases of the main thread, of which one may stand inside another; the innermost counts."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, str]] = [(_process_start(), "imports"), (_now(), "rest")]
        self.open = ["rest"]

    def enter(self, phase: str) -> None:
        """Begin a phase inside the present one."""
        self.open.append(phase)
        self.changes.append((_now(), phase))

    def leave(self) -> None:
        """End the present phase and go on with the one around it."""
        self.open.pop()
        self.changes.append((_now(), self.open[-1]))


def _during(phases: Phases, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        if phases.open[-1] == phase or threading.current_thread() is not threading.main_thread():
            return call(*arguments, **options)
        phases.enter(phase)
        try:
            return call(*arguments, **options)
        finally:
            phases.leave()

    return timed


def _watch(folder: Path) -> None:
    phases = Phases()
    # `import` and `importlib.import_module` both end up here, for modules that are not loaded yet.
    bootstrap: Any = importlib._bootstrap
    find_and_load = bootstrap._find_and_load

    def load_and_mark(name: str, *arguments: Any) -> ModuleType:
        module: ModuleType = find_and_load(name, *arguments)
        function = LOADING.get(name)
        if function and not hasattr(getattr(module, function), "watched"):
            timed = _during(phases, "loading", getattr(module, function))
            timed.watched = True  # type: ignore[attr-defined]
            setattr(module, function, timed)
        return module

    bootstrap._find_and_load = _during(phases, "imports", load_and_mark)

    def write() -> None:
        record = {"command": sys.orig_argv, "changes": phases.changes, "end": _now()}
        (folder / f"{os.getpid()}-{time.time_ns()}.json").write_text(json.dumps(record), encoding="utf-8")

    # Registered first, so it is called last. A forked child is no process of its own here.
    owner = os.getpid()
    atexit.register(lambda: write() if os.getpid() == owner else None)


if "BENCHMARK_STAMPS" in os.environ:
    _watch(Path(os.environ["BENCHMARK_STAMPS"]))
