"""The jobs of a run: which are done, which run, and how long the rest may take."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_logger_plugin_outctl.job_log import progress

READABLE = 0.05
"""Share of a job that must be done before its own pace says how long it takes; loading a model counts as work until then."""

LOOK_SECONDS = 2.0
"""Between two looks at the logs of a job."""


@dataclass(frozen=True)
class Expected:
    """What is known of a job before it starts.

    Attributes:
        kind: rule and model: jobs of one kind take about as long.
        seconds: what it took in an earlier run; 0 where it is too short to count, None where it is not known.
        series: jobs of which the first does work of the others, so that it takes longer than they do; None where there
            are none.
    """

    kind: str
    seconds: float | None
    series: str | None = None


NOTHING = Expected("", None)
"""What is known of a job that was not expected."""


@dataclass
class Job:
    """A job that was started.

    Attributes:
        number: Snakemake's number of it.
        text: what it does, in words.
        output: the files that it writes.
        logs: its log files.
        benchmark: the file that Snakemake writes when it succeeded, and keeps when it deletes outputs; None without one.
        began: when it was started, or on a cluster submitted, in seconds of the monotonic clock.
        submitted: the same by the clock of the file system.
    """

    number: int
    text: str
    output: Sequence[str]
    logs: Sequence[Path]
    benchmark: Path | None = None
    began: float = field(default_factory=time.monotonic)
    submitted: float = field(default_factory=time.time)
    _looked: float = -math.inf
    _waiting: bool = False
    _progress: tuple[int, int, str] | None = None

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.began

    @property
    def waiting(self) -> bool:
        """Whether it still waits in a cluster's queue: what runs has its log open."""
        self._look()
        return self._waiting

    def progress(self) -> tuple[int, int, str] | None:
        """How much of it is done, of how much, and of what; None where it is not known."""
        self._look()
        return self._progress

    def _look(self) -> None:
        """Look at its logs, unless that was done a moment ago: they may lie on a file system that many others use."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        begun = self._begun()
        self._waiting = not begun and self.seconds > LOOK_SECONDS
        self._progress = (
            next((found for file in self.logs if (found := progress(file)) and found[1]), None) if begun else None
        )

    def succeeded(self) -> bool:
        """Whether it ended well, which Snakemake does not say before all jobs of its group have."""
        return self.benchmark is not None and self._wrote(self.benchmark)

    def failed(self) -> bool:
        """Whether it was begun and did not end well, once it runs no more."""
        return self._begun() and not self.succeeded()

    def _begun(self) -> bool:
        return any(map(self._wrote, self.logs))

    def _wrote(self, file: Path) -> bool:
        # A second for clocks of other hosts and coarse time stamps.
        return _changed(file) >= self.submitted - 1

    def remaining(self, expected: float | None) -> float | None:
        """Seconds until it is done, by its own pace if that can be told, else by what is expected; None if unknown."""
        found = self.progress()
        if found and found[0] >= READABLE * found[1]:
            return self.seconds * (found[1] - found[0]) / found[0]
        return None if expected is None else max(0.0, expected - (0.0 if self.waiting else self.seconds))


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


@dataclass
class Jobs:
    """All jobs of a run.

    Attributes:
        total: how many there are.
        done: how many are done.
        running: those that were started and have not ended, by number.
        expected: what was known of each before the run, by number.
        rerun: the command that makes single files, without the files.
    """

    total: int = 0
    done: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    expected: Mapping[int, Expected] = field(default_factory=dict)
    rerun: Sequence[str] = ("snakemake", "--cores", "1", "--resources", "gpu=1")
    _ended: set[int] = field(default_factory=set)
    _took: dict[tuple[str, bool], float] = field(default_factory=dict)
    _led: set[str | int] = field(default_factory=set)

    def end(self, number: int, succeeded: bool) -> Job | None:
        """Take a job off those that run, and give it; None where it was not among them."""
        job = self.running.pop(number, None)
        if succeeded:
            self.done += 1
            self._ended.add(number)
            if job and number in self.expected:
                expected = self.expected[number]
                series = expected.series or number
                self._took[expected.kind, series in self._led] = job.seconds
                self._led.add(series)
        return job

    def _seconds_of(self, numbers: Iterable[int]) -> list[float | None]:
        """How long jobs take that end in this order: by an earlier run, or by the last one in this run that is alike.

        Alike are jobs of a kind that are both the first of their series, or both behind it.
        """
        led, found = set(self._led), []
        for number in numbers:
            expected = self.expected.get(number, NOTHING)
            series = expected.series or number
            found.append(expected.seconds or self._took.get((expected.kind, series in led), expected.seconds))
            led.add(series)
        return found

    def time_left(self) -> str:
        """How long the rest takes, in words; empty where nothing is known of it."""
        if not self.expected:
            return ""
        waiting = self.expected.keys() - self._ended - self.running.keys()
        alike = self._seconds_of([*self.running, *waiting])
        left = [job.remaining(seconds) for job, seconds in zip(self.running.values(), alike, strict=False)]
        known = [seconds for seconds in left if seconds is not None]
        later = [seconds for seconds in alike[len(left) :] if seconds is not None]
        # What runs at once now will go on doing so; nothing ends before the longest of what runs.
        total = max([sum(known + later) / max(1, len(self.running)), *known])
        if total < 1:
            return ""
        unknown = len(alike) - len(known) - len(later)
        without = f", without {unknown} {'job' if unknown == 1 else 'jobs'} of unknown length" if unknown else ""
        return f"about {in_words(total)} left{without}"


def in_words(seconds: float) -> str:
    """A time as a person says it: `8 s`, `3 min 20 s`, `14 min`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
