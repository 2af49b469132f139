"""The command line in real processes, on an experiment with a tiny model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forked import ENVIRONMENT, Forked
from outctl.pipeline.plan import Plan


@dataclass(frozen=True)
class ByHand:
    """A working directory for the command line, with an experiment whose model and samples are made."""

    folder: Path
    plan: Plan

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Forked:
        """Start a command, with changes to its environment."""
        return Forked(arguments, self.folder, environment)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        process = self.start(*arguments)
        out, err = process.communicate()
        return process.returncode, out, err

    def run_afresh(self, *arguments: str) -> tuple[int, str, str]:
        """The same in a process that has imported nothing: some libraries read the environment when they are imported."""
        command = [sys.executable, "-m", "outctl", *arguments]
        result = subprocess.run(
            command, cwd=self.folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout, result.stderr

    def two_at_once(self, *arguments: str, begun: Callable[[], object]) -> tuple[int, str]:
        """Start a command twice; once the first has `begun` its work, it is held until the second has printed a line.

        Returns:
            The first one's process, and what the second printed.
        """
        first = self.start(*arguments)
        while not begun() and first.poll() is None:
            time.sleep(0.005)
        first.send_signal(signal.SIGSTOP)
        second = self.start(*arguments)
        second.first_line()
        first.send_signal(signal.SIGCONT)
        out, err = second.communicate()
        assert (first.wait(), second.returncode) == (0, 0), err
        return first.pid, out
