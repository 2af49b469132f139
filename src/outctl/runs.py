"""Which run of the workflow owns the results: jobs that a run left in a cluster's queue must not write after a newer one."""

import os
import socket
import time
import uuid
from pathlib import Path

from outctl.errors import OutctlError
from outctl.files import read_json, write_json
from outctl.layout import Layout

PLAN_VARIABLE = "OUTCTL_PLAN"
"""Environment variable that names the plan's file to jobs that run elsewhere."""
RUN_VARIABLE = "OUTCTL_RUN"
"""Environment variable that names the run to jobs that run elsewhere."""


def announce(plan: Path) -> None:
    """Give this run a name, for the jobs that it starts."""
    os.environ[PLAN_VARIABLE] = str(plan.resolve())
    os.environ[RUN_VARIABLE] = uuid.uuid4().hex


def own(layout: Layout) -> None:
    """Make this run the owner of the results; call it once Snakemake holds its lock."""
    owner = {
        "run": os.environ[RUN_VARIABLE],
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_json(layout.owner(), owner)


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
