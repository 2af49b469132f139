"""Runs of the workflow: one at a time works on the results, and what an earlier one left behind is explained."""

import atexit
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.storage.files import read_json, write_json
from outctl.storage.locks import Lock, writer_of

PLAN_VARIABLE = "OUTCTL_PLAN"
"""Environment variable that names the plan's file to jobs that run elsewhere."""
RUN_VARIABLE = "OUTCTL_RUN"
"""Environment variable that names the run to jobs that run elsewhere."""
FULL = 2**20
"""Bytes; a disk with less room counts as full."""


def announce(plan: Path) -> None:
    """Give this run a name, for the jobs that it starts."""
    os.environ[PLAN_VARIABLE] = str(plan.resolve())
    os.environ[RUN_VARIABLE] = uuid.uuid4().hex


def begin(layout: Layout, jobs: Mapping[tuple[str, ...], Path]) -> None:
    """Be the only run that works on these results until this process ends, and their owner.

    Call it once Snakemake holds its own lock.

    Args:
        layout: where the results lie.
        jobs: those that this run is to do and that one which has loaded a model goes on with (stage, model, variant, and the
            case where there is one), each with the file of its specification, in the order in which one goes on with them.

    Raises:
        OutctlError: another run is still going, in another working directory or behind a lock that was removed.
    """
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    lock = Lock(layout.run_lock())
    if not lock.acquire(f"process {os.getpid()} on {os.uname().nodename}, started {started}"):
        raise OutctlError(_still_going(layout, lock))
    atexit.register(lock.release)
    owner = {"run": os.environ[RUN_VARIABLE], "host": os.uname().nodename, "pid": os.getpid(), "started": started}
    write_json(layout.owner(), owner | {"jobs": [["/".join(job), str(spec)] for job, spec in jobs.items()]})


def jobs_of_this_run(layout: Layout) -> dict[tuple[str, ...], Path]:
    """Those jobs of the run that this job belongs to, with their specifications' files; none by hand."""
    try:
        owner = read_json(layout.owner())
        known = owner["run"] == os.environ.get(RUN_VARIABLE)
        return {tuple(job.split("/")): Path(spec) for job, spec in owner["jobs"]} if known else {}
    except (OutctlError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _still_going(layout: Layout, lock: Lock) -> str:
    return (
        f"{layout.results}: a run of the workflow is still going ({lock.holder()}); wait for it, or end it with "
        "`kill -INT` and its process"
    )


def why_locked(layout: Layout, command: str) -> str:
    """Why Snakemake finds its own lock taken, which is a plain file that outlives a killed run, and what helps.

    Args:
        layout: where the results lie.
        command: the command that this run was started with.
    """
    lock = Lock(layout.run_lock())
    holder = lock.holder()
    if lock.held():
        return _still_going(layout, lock)
    if holder:
        return (
            f"an earlier run ({holder}) was killed and left Snakemake's lock; remove it with `{command} --unlock`, then "
            "start again: what is done is kept"
        )
    return (
        f"another run is about to start, or works on the same models; if none does, remove its lock with `{command} "
        "--unlock`, then start again: what is done is kept"
    )


class LockExplained(logging.Filter):
    """Puts what Snakemake says of its lock, in several lines, into one that helps.

    Args:
        layout: where the results lie.
        command: the command that this run was started with.
    """

    def __init__(self, layout: Layout, command: str) -> None:
        super().__init__()
        self.layout = layout
        self.command = command

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, that one with another text."""
        if "Directory cannot be locked" in str(record.msg):
            record.msg = f"outctl: {why_locked(self.layout, self.command)}"
        return True


def check_owner(layout: Layout) -> None:
    """Make sure that the run that this job belongs to still owns the results.

    Raises:
        OutctlError: a newer run does.
    """
    owner = read_json(layout.owner())
    if owner["run"] != os.environ.get(RUN_VARIABLE):
        raise OutctlError(
            f"this job was left in the queue by a run that has ended; the run of {owner['started']} on {owner['host']} "
            "has taken over and needs nothing of it; cancel what is left (Slurm: `squeue --me`, then `scancel JOB`)"
        )


def orphans(outputs: Iterable[Path]) -> Iterator[str]:
    """A line for each output that a job of an earlier run still works on, when a run begins."""
    for output in outputs:
        if (writer := writer_of(output)) is not None:
            yield f"{output}: a job of an earlier run still works on it and is waited for: {writer}"


def full_disk(layout: Layout) -> str | None:
    """A line if the results' disk is full, which jobs whose logs lie there cannot say; None if it is not."""
    free = shutil.disk_usage(layout.results).free
    if free >= FULL:
        return None
    return f"{layout.results}: the disk is full ({free} bytes are free); make room and start the workflow again"
