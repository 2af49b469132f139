"""Snakemake with the Slurm profile on a throw-away cluster, watched while it runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from slurm.cluster import Cluster, ClusterError, Job
from workspace import ROOT, Run, Workspace

Result = TypeVar("Result")

QUICK = ("--slurm-init-seconds-before-status-checks=5", "--latency-wait=10")
"""Shorter waits than the profile's: the cluster's file system is this machine's."""
LIMIT = 1200
"""Seconds after which a run counts as hanging."""


class Submission:
    """A run of the workflow on a cluster, in the background; as a context manager it is ended at the latest on leaving.

    Args:
        cluster: where the jobs run.
        workspace: the working directory; the profile is put there.
        arguments: further arguments of Snakemake.
        profile: changes to the profile's keys.
        environment: additions to the environment.
        changes: changes to the configuration's keys.
    """

    def __init__(
        self,
        cluster: Cluster,
        workspace: Workspace,
        *arguments: str,
        profile: dict[str, object] | None = None,
        environment: dict[str, str] | None = None,
        **changes: object,
    ) -> None:
        self.cluster = cluster
        self.workspace = workspace
        folder = workspace.folder
        self.output = folder / "snakemake.txt"
        # Unless named absolutely, Snakemake looks for a profile in the working directory.
        settings = yaml.safe_load((ROOT / "slurm" / "config.v9+.yaml").read_text()) | (profile or {})
        (folder / "slurm").mkdir(exist_ok=True)
        (folder / "slurm" / "config.v9+.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        (folder / "experiment.yaml").write_text(yaml.safe_dump(workspace.config | changes, sort_keys=False))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--profile", "slurm"]
        command += ["--configfile", "experiment.yaml", *QUICK, *arguments]
        path = f"{cluster.directory / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        surroundings = cluster.environment | {"PATH": path} | (environment or {})
        # The tests' own setting; whoever uses a cluster has none.
        surroundings.pop("HF_HUB_OFFLINE", None)
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Submission":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is ClusterError:
            print(self.report())
        if self._process.poll() is None:
            # Snakemake and what it runs here; its jobs have to be cancelled apart.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=60)
            with suppress(ClusterError):
                self.cluster.run("scancel", "--state=PENDING", "--state=RUNNING", f"--user={os.geteuid()}")

    def finish(self, limit: float = LIMIT) -> Run:
        """How the run ended. A run that fails, or has not ended within so many seconds, fails the test."""
        try:
            code = self._process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not finished after {limit} seconds\n{self.report()}", pytrace=False)
        if code != 0:
            pytest.fail(f"Snakemake ended with {code}\n{self.report()}", pytrace=False)
        return Run(code, self.output.read_text(errors="replace"))

    def wait_for(self, what: str, look: Callable[[], Result], limit: float = LIMIT) -> Result:
        """What `look` returns, as soon as that is true. If the run ends before, or the time is over, the test fails."""
        deadline = time.monotonic() + limit
        while not (seen := look()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"waited in vain for {what}\n{self.report()}", pytrace=False)
            time.sleep(0.1)
        return seen

    def jobs(self, rule: str = "") -> list[Job]:
        """The run's jobs of a rule, or all, in the order of their submission."""
        return [job for job in self.cluster.jobs(f"rule_{rule}") if job.fields["WorkDir"] == str(self.workspace.folder)]

    def wait_for_job(self, rule: str, state: str, number: int = 1, reason: str = "", limit: float = LIMIT) -> Job:
        """The newest job of a rule, as soon as it is in a state.

        Args:
            rule: the rule.
            state: the state, as Slurm names it.
            number: how many jobs of the rule there must be; from 2 on these are retries.
            reason: what Slurm's reason for the state must hold.
            limit: seconds after which the test fails.
        """

        def newest() -> list[Job]:
            jobs = self.jobs(rule)
            seen = len(jobs) >= number and jobs[-1].state == state and reason in jobs[-1].fields["Reason"]
            return jobs[-1:] if seen else []

        (job,) = self.wait_for(f"job {number} of {rule} to be {state} {reason}", newest, limit)
        return job

    def report(self) -> str:
        """All that may say what went wrong: Snakemake's output, the jobs' states, their logs, the daemons' logs."""
        parts = ["--- Snakemake", self.output.read_text(errors="replace")[-20000:], "--- jobs"]
        with suppress(ClusterError):
            for job in self.jobs():
                details = " ".join(
                    f"{key}={job.fields.get(key)}" for key in ("Reason", "Restarts", "ExitCode", "TimeLimit")
                )
                parts.append(f"{job.id} {job.state} {job.comment} {job.gpus} {details}")
        for file in sorted((self.workspace.results / "logs").rglob("*.log")):
            parts += [f"--- {file}", "\n".join(file.read_text(errors="replace").splitlines()[-15:])]
        return "\n".join([*parts, self.cluster.logs()])
