"""The plugin's handler: Snakemake's records, as lines of what begins and ends."""

import logging
import os
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_outctl.job_log import last_lines, notes
from snakemake_logger_plugin_outctl.jobs import Expected, Job, Jobs, in_words

if TYPE_CHECKING:
    from snakemake_logger_plugin_outctl.live import LiveDisplay

UNSAID = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.PROGRESS,
    LogEvent.GROUP_INFO,
}
"""What only the log file below `.snakemake/log` says."""
CHATTER = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs",
    "Using shell:",
    "Group jobs: inactive",
    "Conda environments: ignored",
    "Select jobs to execute",
    # The command of a failed job; the failure itself comes as an event of its own.
    "RuleException:\nCalledProcessError",
)
"""How messages begin that only that file says."""
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}
TARGETS = "all"
"""The rule that only names what is wanted."""


class LogHandler(LogHandlerBase):
    """Shows a line for each job that begins or ends, on a terminal above a bar; a failed job with its log's last lines.

    Without a terminal, with NO_COLOR or `--nocolor`, there is nothing but lines. What a dry run or `--verbose` prints stays
    Snakemake's own.
    """

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._jobs = Jobs()
        self._guard = threading.RLock()
        self._stream: TextIO = sys.stdout if settings.stdout else sys.stderr
        as_ever = settings.dryrun or settings.verbose or settings.debug_dag
        self._own = snakemakes_handler(settings.nocolor, self._stream) if as_ever else None
        self._live = None
        # With `--quiet`, some of what the display follows is not said.
        if not as_ever and not settings.nocolor and not settings.quiet and is_capable(self._stream):
            self._live = live_display(self._jobs)

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own handler."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """The log file stays Snakemake's."""
        return False

    @property
    def has_filter(self) -> bool:
        """`--quiet` and the like are heard as Snakemake does."""
        return False

    @property
    def has_formatter(self) -> bool:
        """What is shown as it is, is formatted as Snakemake does."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """It is not."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record; called from the one thread that empties Snakemake's queue."""
        try:
            if self._own is not None:
                # The formatter comes after the construction.
                self._own.setFormatter(self.formatter)
                self._own.emit(record)
            else:
                with self._guard:
                    self._show(record)
        except BrokenPipeError:
            # Nobody reads any more; the run goes on.
            return
        except Exception:
            # An exception would end the thread, and with it all that is said.
            self.handleError(record)

    def close(self) -> None:
        """Give the terminal back."""
        with self._guard:
            if self._live is not None:
                self._live.hide()
        super().close()

    def _show(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        said: dict[str, Any] = record.__dict__
        match event:
            case LogEvent.RUN_INFO:
                self._plan(said["stats"])
            case LogEvent.JOB_INFO:
                self._begin(said)
            case LogEvent.JOB_FINISHED:
                self._finish(int(said["job_id"]))
            case LogEvent.JOB_ERROR:
                self._fail(said)
            case LogEvent.GROUP_ERROR:
                self._fail_group(said)
            case _ if event in UNSAID or str(record.msg).startswith(CHATTER):
                return
            case _ if "expected" in said:
                self._expect(said)
            case _:
                text = self.format(record).strip("\n")
                if text and text != "None":
                    self._line(text, STYLES.get(record.levelno, ""))

    def _line(self, text: str, style: str = "") -> None:
        if self._live is not None:
            self._live.line(text, style)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def _plan(self, stats: dict[str, int]) -> None:
        counts = {rule: count for rule, count in stats.items() if rule not in (TARGETS, "total")}
        self._jobs.total = sum(counts.values())
        kind = "job" if self._jobs.total == 1 else "jobs"
        self._line(f"{self._jobs.total} {kind}: {', '.join(f'{count} {rule}' for rule, count in counts.items())}")

    def _expect(self, said: dict[str, Any]) -> None:
        self._jobs.expected = {number: Expected(*known) for number, known in said["expected"].items()}
        self._jobs.rerun = said["rerun"]
        if left := self._jobs.time_left():
            self._line(f"by earlier runs {left.replace(' left', '', 1)}")

    def _begin(self, said: dict[str, Any]) -> None:
        if said["rule_name"] == TARGETS:
            return
        # A rule's message comes without white space around it; a rule without one is named.
        text = said["rule_msg"] or said["rule_name"]
        number = int(said["jobid"])
        logs, benchmark = [Path(file) for file in said["log"]], said["benchmark"]
        self._jobs.running[number] = Job(number, text, said["output"], logs, Path(benchmark) if benchmark else None)
        if self._live is not None:
            self._live.show()
        else:
            self._line(f"{now()} begun   {text}")

    def _finish(self, number: int) -> None:
        job = self._jobs.running.get(number)
        if job is None:
            # The rule that only names what is wanted.
            return
        took = in_words(job.seconds)
        self._jobs.end(number, succeeded=True)
        for line in (line for file in job.logs for line in notes(file)):
            self._line(line, STYLES[logging.WARNING])
        jobs = self._jobs
        if self._live is not None:
            self._line(f"{now()} done    {job.text} ({took})", "green")
            if jobs.done >= jobs.total and not jobs.running:
                # The summary comes next, from a program of its own.
                self._live.hide()
        else:
            left = f", {text}" if (text := jobs.time_left()) else ""
            self._line(f"{now()} done    {job.text} ({took}); {jobs.done} of {jobs.total} jobs{left}")

    def _fail_group(self, said: dict[str, Any]) -> None:
        """What a group's jobs have in common; each of them follows as a failed job of its own."""
        jobs = [self._jobs.running.get(int(info["jobid"])) for info in said["job_error_info"]]
        done = sum(job is not None and job.succeeded() for job in jobs)
        self._line(f"failed: the jobs of {said['groupid']}, which share one; {done} of {len(jobs)} were done", "red")
        self._logs([Path(file) for file in said["aux_logs"]])

    def _fail(self, said: dict[str, Any]) -> None:
        job = self._jobs.end(int(said["jobid"]), succeeded=False)
        # Only jobs of a group are indented. Snakemake calls all of them failed: those that are done, and those never begun.
        if job is not None and said["indent"] and not job.failed():
            return
        text = f"{job.text} ({in_words(job.seconds)})" if job else said["rule_name"]
        self._line(f"{now()} failed  {text}", "bold red")
        for name, value in said["aux"].items():
            self._line(f"    {name}: {value}")
        self._logs([Path(file) for file in said["log"]])
        # The provenance stands for all outputs of a job.
        target = next((file for file in said["output"] if file.endswith("provenance.json")), None)
        if target is not None:
            command, *options = self._jobs.rerun
            self._line(f"    this job alone again: {shlex.join([command, target, *options])}", "bold")

    def _logs(self, files: list[Path]) -> None:
        """The last lines of what a failed job printed."""
        for file in files:
            lines = last_lines(file)
            self._line(f"    last lines of {file}:" if lines else f"    {file} is empty")
            for line in lines:
                self._line(f"      {line}")


def now() -> str:
    """The time of the day."""
    return time.strftime("%H:%M:%S")


def is_capable(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor, and colours are wanted."""
    return stream.isatty() and os.environ.get("TERM") not in (None, "dumb") and not os.environ.get("NO_COLOR")


def snakemakes_handler(nocolor: bool, stream: TextIO) -> logging.Handler:
    """The handler that Snakemake has without a plugin."""
    from snakemake.logging import ColorizingTextHandler

    handler: logging.Handler = ColorizingTextHandler(nocolor, stream)
    return handler


def live_display(jobs: Jobs) -> "LiveDisplay":
    """The display for a terminal; what it needs is not imported anywhere else."""
    from snakemake_logger_plugin_outctl.live import LiveDisplay

    return LiveDisplay(jobs)
