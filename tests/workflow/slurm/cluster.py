"""A throw-away Slurm of one node with fake GPUs: real daemons, without systemd, cgroups or a place on the system."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from slurm import leftovers, packages
from slurm.configuration import (
    CLUSTER,
    DATABASE,
    DATABASE_USER,
    Options,
    free_ports,
    gres_conf,
    munge_socket,
    node_name,
    slurm_conf,
    slurmdbd_conf,
    user_name,
)

Result = TypeVar("Result")

COMMANDS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")


class ClusterError(Exception):
    """Slurm cannot run here, or does not do what was asked; the first line says why."""


@dataclass(frozen=True)
class Job:
    """A job as `scontrol show job` tells of it.

    Attributes:
        id: its number.
        state: its state: PENDING, RUNNING, COMPLETED and so on.
        comment: what it was submitted with; Snakemake writes rule and wildcards there.
        fields: everything else, by Slurm's names.
    """

    id: str
    state: str
    comment: str
    fields: dict[str, str]

    @property
    def gpus(self) -> str | None:
        """The GPUs that it holds, as `gpu:h200:1`; None for none."""
        return None if (gres := self.fields.get("JOB_GRES", "(null)")) == "(null)" else gres


class Cluster:
    """A Slurm of one node, from `start` to `stop`, or as a context manager.

    Args:
        options: what it is like.

    Attributes:
        directory: where everything of it lies, while it runs.
        environment: the environment for whatever is to run on it.
    """

    directory: Path
    environment: dict[str, str]

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all daemons, and wait until the node takes jobs.

        Raises:
            ClusterError: Slurm cannot run here.
        """
        if reason := why_not(self.options.accounting):
            raise ClusterError(reason)
        # Paths of sockets are short, so this is no folder of pytest's.
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-")).resolve()
        guard = [sys.executable, leftovers.__file__, str(self.directory)]
        # In a session of its own, it outlives the Ctrl-C that ends the tests.
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._configure()
            self._start_munged()
            if self.options.accounting:
                self._start_accounting()
            self.launch("slurmctld")
            self.launch("slurmd")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all daemons and jobs, and remove the directory."""
        if self._guard is None:
            return
        self._guard.communicate(timeout=60)
        self._guard = None
        for daemon in self._daemons.values():
            daemon.wait(timeout=60)
        self._daemons = {}

    def run(self, *command: str, timeout: float = 30) -> str:
        """Output of a command that runs on the cluster.

        Raises:
            ClusterError: it failed.
        """
        try:
            result = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(command)}: nothing for {timeout} seconds") from None
        if result.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {result.stderr.strip()}")
        return result.stdout

    def jobs(self, comment: str = "") -> list[Job]:
        """The jobs that Slurm remembers, in the order of their submission.

        Args:
            comment: how their comments begin; `rule_evaluate` finds the jobs of that rule.
        """
        jobs = []
        for line in self.run("scontrol", "--oneliner", "--details", "show", "job").splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split() if "=" in part)
            # Without any job, a line says so.
            if "JobId" in fields:
                jobs.append(Job(fields["JobId"], fields["JobState"], fields.get("Comment", ""), fields))
        return sorted((job for job in jobs if job.comment.startswith(comment)), key=lambda job: int(job.id))

    def wait_for_job(self, comment: str, *states: str, timeout: float = 300) -> Job:
        """The newest job whose comment begins so, as soon as it is in one of the states.

        Raises:
            ClusterError: it was not within the time.
        """

        def newest() -> Job | None:
            jobs = self.jobs(comment)
            return jobs[-1] if jobs and jobs[-1].state in states else None

        return self.wait(f"a job {comment} that is {' or '.join(states)}", newest, timeout)

    def drain(self) -> None:
        """Let the node finish what runs, and start nothing new."""
        self.run("scontrol", "update", f"NodeName={node_name()}", "State=DRAIN", "Reason=maintenance")

    def resume(self) -> None:
        """Let the drained node start jobs again."""
        self.run("scontrol", "update", f"NodeName={node_name()}", "State=RESUME")

    def kill(self, daemon: str) -> None:
        """Kill a daemon as a crash would: munged, mariadbd, slurmdbd, slurmctld or slurmd. Jobs go on."""
        process = self._daemons.pop(daemon)
        process.kill()
        process.wait(timeout=60)

    def launch(self, daemon: str) -> None:
        """Start slurmdbd, slurmctld or slurmd, also again after `kill`, and wait until it answers.

        Raises:
            ClusterError: it does not.
        """
        ready = {
            "slurmdbd": lambda: self._answers("sacctmgr", "--noheader", "list", "cluster"),
            "slurmctld": lambda: "UP" in self.run("scontrol", "ping"),
            "slurmd": lambda: self.node_state() in ("idle", "mixed", "allocated"),
        }
        self._launch(daemon, "-D")
        self.wait(daemon, ready[daemon], 60)

    def node_state(self) -> str:
        """State of the node: idle, mixed, allocated, drained, down and so on; a star says that it does not answer."""
        return self.run("sinfo", "--noheader", "--format=%T", f"--nodes={node_name()}").split("\n")[0].strip()

    def logs(self, lines: int = 60) -> str:
        """The last lines of each daemon's log."""
        parts = []
        for file in sorted((self.directory / "log").glob("*.log")):
            tail = file.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"--- {file.name}", *tail]))
        return "\n".join(parts)

    def _configure(self) -> None:
        """Write the configuration, and small programs in front of Slurm's commands."""
        for name in ("bin", "etc", "log", "munge", "slurmctld", "slurmd"):
            (self.directory / name).mkdir()
        # munged wants to be reachable by everyone, and its key by nobody else.
        for folder in (self.directory, self.directory / "munge"):
            folder.chmod(0o755)
        for number in range(self.options.gpus):
            (self.directory / f"gpu{number}").symlink_to(os.devnull)
        self._ports = free_ports()
        etc = self.directory / "etc"
        slurmdbd = etc / "slurmdbd.conf"
        slurmdbd.touch(0o600)
        slurmdbd.write_text(slurmdbd_conf(self.directory, self._ports))
        (etc / "gres.conf").write_text(gres_conf(self.options, self.directory))
        file = etc / "slurm.conf"
        file.write_text(slurm_conf(self.options, self.directory, self._ports))
        # Inside a job, Snakemake takes all SLURM_ variables from the environment of srun, also the one that says where
        # the configuration is. PATH is left alone.
        for name in COMMANDS:
            if program := packages.find(name):
                shim = self.directory / "bin" / name
                shim.write_text(f'#!/bin/sh\nexport SLURM_CONF={file}\nexec {program} "$@"\n')
                shim.chmod(0o755)
        outer = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        path = f"{self.directory / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        own = {"SLURM_CONF": str(file), "PATH": path, leftovers.MARK: str(self.directory)}
        self.environment = outer | own

    def _start_munged(self) -> None:
        folder = self.directory / "munge"
        key = folder / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        files = {"key": key, "socket": munge_socket(self.directory), "pid": folder / "pid", "seed": folder / "seed"}
        arguments = [f"--{name}{'' if name == 'socket' else '-file'}={file}" for name, file in files.items()]
        self._launch("munged", "--foreground", f"--log-file={folder / 'log'}", *arguments)
        self.wait("munged", munge_socket(self.directory).is_socket, 20)

    def _start_accounting(self) -> None:
        database, socket = self.directory / "database", self.directory / "database.socket"
        user = f"--user={user_name()}"
        where = ["--no-defaults", f"--datadir={database}"]
        self.run("mariadb-install-db", *where, user, "--auth-root-authentication-method=normal", timeout=120)
        self._launch(
            "mariadbd",
            *where,
            user,
            f"--socket={socket}",
            "--bind-address=127.0.0.1",
            f"--port={self._ports.mariadbd}",
            f"--pid-file={self.directory / 'mariadbd.pid'}",
            # Nothing of it is to survive.
            "--innodb-flush-log-at-trx-commit=0",
        )
        client = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root"]
        self.wait("mariadbd", lambda: self._answers(*client, "--execute=SELECT 1"), 60)
        # By which of its names the server knows this machine depends on the machine.
        users = ", ".join(f"{DATABASE_USER}@'{host}'" for host in ("localhost", "127.0.0.1"))
        statements = f"CREATE DATABASE {DATABASE}; CREATE USER {users}; GRANT ALL ON {DATABASE}.* TO {users}"
        self.run(*client, f"--execute={statements}")
        self.launch("slurmdbd")
        account = ("sacctmgr", "--immediate", "--quiet", "add")
        self.run(*account, "cluster", CLUSTER)
        self.run(*account, "account", "everyone", "Description=all", "Organization=all")
        self.run(*account, "user", user_name(), "Account=everyone")

    def _launch(self, daemon: str, *arguments: str) -> None:
        with (self.directory / "log" / f"{daemon}.log").open("ab") as log:
            self._daemons[daemon] = subprocess.Popen(
                [packages.find(daemon) or daemon, *arguments],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self, *command: str) -> bool:
        try:
            self.run(*command, timeout=10)
        except ClusterError:
            return False
        return True

    def wait(self, what: str, look: Callable[[], Result], seconds: float = 300) -> Result:
        """What `look` returns as soon as that is true; commands that fail meanwhile are asked again."""
        deadline = time.monotonic() + seconds
        failure = ""
        while time.monotonic() < deadline:
            try:
                if seen := look():
                    return seen
            except ClusterError as error:
                failure = f": {error}"
            if ended := [name for name, daemon in self._daemons.items() if daemon.poll() is not None]:
                failure = f": {ended[0]} has ended"
                break
            time.sleep(0.1)
        raise ClusterError(f"waited in vain for {what}{failure}\n{self.logs()}")


def why_not(accounting: bool = False) -> str | None:
    """Why Slurm cannot run here, in one line, as far as it can be known before trying; None where it may."""
    if not Path("/proc/self/environ").exists():
        return "Slurm runs on Linux only"
    if lacking := packages.missing(accounting):
        programs = ", ".join(sorted(lacking))
        if reason := packages.why_not_installable():
            return f"{programs} missing; cannot be installed from here: {reason}"
        return f"{programs} missing; `{Path(sys.executable).name} {os.path.relpath(packages.__file__)}` installs Slurm"
    return None
