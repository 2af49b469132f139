"""Meeting a training in the middle: watching its checkpoints, and stopping it at one."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from slurm.cluster import Job
from slurm.submission import Submission


def newest_checkpoint(submission: Submission) -> int:
    """Step of the newest checkpoint that is whole; 0 while there is none."""
    files = submission.workspace.results.glob("checkpoints/**/checkpoint-*/seal.json")
    return max((int(file.parent.name.rpartition("-")[2]) for file in files), default=0)


def frozen_training(submission: Submission, after: int = 0) -> Job:
    """The job of a training that has been stopped, as by Ctrl-Z, right after it wrote a checkpoint beyond a step.

    On a fast machine it would otherwise be over before anything could be done to it.
    """
    submission.wait_for(f"a checkpoint after step {after}", lambda: newest_checkpoint(submission) > after)
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"finetune" in command and (process / "cwd").readlink() == submission.workspace.folder:
                os.kill(int(process.name), signal.SIGSTOP)
    return submission.wait_for_job("finetune", "RUNNING")


def logged_losses(submission: Submission, model: str, adapter: str) -> int:
    """How many losses the last attempt at a training printed: one every `log_every` steps of its own."""
    log = submission.workspace.results / "logs" / "finetune" / model / f"{adapter}.log"
    return sum("'loss':" in line for line in log.read_text().splitlines())
