"""A copy of a prepared experiment in which a run of the workflow is disturbed, and then brought to its end."""

import os
import random
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil
from workspace import Run, Workspace

MOST_STARTS = 4
"""Starts after a fault that may be needed at most."""
COMPARED = (
    "*.csv",
    "figures/*.svg",
    "figures/*.csv",
    "adapters/*/*/adapter_*",
    "adapters/*/*/training.jsonl",
    "evaluations/*/*/*.jsonl",
    "samples/*/*.jsonl",
)
"""Files below the results that must come out the same, byte for byte."""


@dataclass
class Reference:
    """An undisturbed run.

    Attributes:
        prepared: a working directory in which models and samples are made, and nothing else.
        finished: one in which everything is.
        seconds: what it took from the one to the other.
    """

    prepared: Workspace
    finished: Workspace
    seconds: float


def contents(workspace: Workspace) -> dict[str, bytes]:
    """What is compared of a working directory's results, by path."""
    files = [file for pattern in COMPARED for file in sorted(workspace.results.glob(pattern))]
    return {file.relative_to(workspace.results).as_posix(): file.read_bytes() for file in files}


class Start:
    """A start of the workflow that is under way.

    Args:
        workspace: the working directory.
        arguments: further arguments of Snakemake.
        environment: changes to the environment.
    """

    def __init__(self, workspace: Workspace, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.output = workspace.folder / f"output-{time.monotonic_ns()}.txt"
        self.began = time.monotonic()
        with self.output.open("wb") as stream:
            # In a session of its own, so that Ctrl-C can be given to it and all its jobs, and to nothing else.
            self.process = subprocess.Popen(
                workspace.command(*arguments),
                cwd=workspace.folder,
                env=workspace.environment | environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        # What Snakemake left behind when it was killed is still in its session.
        self.session = self.process.pid

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self.began

    @property
    def going(self) -> bool:
        """Whether Snakemake is going."""
        return self.process.poll() is None

    def jobs(self) -> list[psutil.Process]:
        """Processes of its jobs, those of a killed Snakemake included."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.session and process.cmdline()[1:3] == ["-m", "outctl"]:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def doing(self) -> str:
        """The stages that run, as `outctl evaluate`."""
        stages = set()
        for job in self.jobs():
            try:
                stages.add(job.cmdline()[3])
            except (IndexError, psutil.Error):
                # It has just ended.
                continue
        return f"outctl {', '.join(sorted(stages))}" if stages else "no job"

    def wait(self, seconds: float = 300) -> Run:
        """How it ended.

        Raises:
            subprocess.TimeoutExpired: it did not, and was killed.
        """
        try:
            code = self.process.wait(seconds)
        finally:
            self.process.kill()
        return Run(code, self.output.read_text(errors="replace"))


@dataclass
class Scene:
    """A run that a fault disturbs, in a working directory of its own.

    Attributes:
        workspace: the working directory.
        reference: the undisturbed run.
        draw: the source of everything that is drawn.
        arguments: further arguments of every start.
        environment: changes to the environment of every start.
        moment: when the fault struck and what ran then.
        typed: what a user had to type afterwards.
        starts: how often the workflow was started afterwards.
        said: what every start printed.
        done: whether the disturbed run came to its end all the same.
    """

    workspace: Workspace
    reference: Reference
    draw: random.Random
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    moment: str = "after the end"
    typed: list[str] = field(default_factory=list)
    starts: int = 0
    said: list[str] = field(default_factory=list)
    done: bool = False

    def start(self) -> Start:
        """Start the workflow."""
        return Start(self.workspace, self.arguments, self.environment)

    def running(self, stage: str = "") -> Start:
        """Start the workflow and let it run up to a random moment.

        Args:
            stage: what must be running at that moment, or as soon as possible after it; `outctl` is any job.
        """
        while True:
            start = self.start()
            moment = self.draw.uniform(0, self.reference.seconds)
            while start.going and not (start.seconds >= moment and stage in start.doing()):
                time.sleep(0.05)
            if start.going:
                self.note(start)
                return start
            # It was faster than the reference, so there was nothing left to disturb.
            self.reference.seconds = start.seconds
            self.prepare()

    def prepare(self) -> None:
        """Put the working directory back to where models and samples are made, and nothing else."""
        for folder in (self.workspace.folder, self.workspace.results):
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.iterdir():
                # The results may be a file system of their own, which cannot be removed.
                if file != self.workspace.results:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
        shutil.copytree(self.reference.prepared.folder, self.workspace.folder, dirs_exist_ok=True)

    def note(self, start: Start) -> None:
        """Take down what runs."""
        self.moment = f"{start.seconds:.1f} s, {start.doing()}"

    def ended(self, start: Start) -> Run:
        """Wait for a start to end, and keep what it printed."""
        run = start.wait()
        self.said.append(run.output)
        self.done = run.code == 0
        return run

    def to_the_end(self) -> None:
        """Start the workflow until there is nothing left to do, and type what its messages ask for.

        Raises:
            AssertionError: it does not within a few starts.
        """
        if self.done:
            return
        while self.starts < MOST_STARTS:
            self.starts += 1
            self.typed.append("the same command")
            run = self.ended(self.start())
            if run.code == 0:
                return
            for command in re.findall(r"^outctl: .*`(snakemake [^`]*)`", run.output, re.MULTILINE):
                self.typed.append(f"`snakemake {command.split()[-1]}`")
                subprocess.run(
                    shlex.split(command),
                    cwd=self.workspace.folder,
                    env=self.workspace.environment | self.environment,
                    check=True,
                    capture_output=True,
                )
        raise AssertionError("\n".join(self.said))

    def check(self) -> None:
        """Make sure that the results are those of the undisturbed run, and that nothing is left to be done.

        Raises:
            AssertionError: they are not, or something is.
        """
        found, expected = contents(self.workspace), contents(self.reference.finished)
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []
        assert self.workspace.stale() == {}
        for text in self.said:
            assert "Traceback" not in text, text
