"""A working directory with an experiment, and what Snakemake says of it."""

import os
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from outctl.cli.main import main
from outctl.stages.dag import load_plan

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Run:
    """What a command printed, and how it ended."""

    code: int
    output: str


def _exit_code() -> int:
    """Run the command line in this process."""
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@dataclass(frozen=True)
class Workspace:
    """A working directory with an experiment's configuration, apart from the checkout."""

    folder: Path
    config: dict[str, Any]

    @property
    def results(self) -> Path:
        """The results' directory."""
        return self.folder / "results"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Snakemake and its jobs find this Python's programs first."""
        return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def command(self, *arguments: str, **changes: Any) -> list[str]:
        """The command that runs the workflow with the configuration, of which `changes` replace keys."""
        file = self.folder / "experiment.yaml"
        file.write_text(yaml.safe_dump(self.config | changes, sort_keys=False))
        where = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder), "--configfile", str(file)]
        return [sys.executable, "-m", "snakemake", *where, "--resources", "gpu=1", "--cores", "all", *arguments]

    def snakemake(self, *arguments: str, **changes: Any) -> Run:
        """Run the workflow with the configuration, of which `changes` replace keys."""
        result = subprocess.run(
            self.command(*arguments, **changes),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(result.returncode, result.stdout)

    def outctl(self, *arguments: str) -> Run:
        """Run a command of `outctl` here."""
        result = subprocess.run(
            [sys.executable, "-m", "outctl", *arguments],
            cwd=self.folder,
            # As many threads as the experiments give to their jobs: sums in another order end in other bits.
            env=self.environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(result.returncode, result.stdout)

    def every_command(self, *left_out: str) -> None:
        """Run every job of the experiment by its command, one after the other in this process, which has imported everything.

        Args:
            left_out: stages whose jobs are not run.
        """
        self.command()
        with chdir(self.folder):
            for job in list(load_plan(self.config, [Path("experiment.yaml")]).jobs()):
                if job[0] in left_out:
                    continue
                with patch.object(sys, "argv", ["outctl", *job, "--config", "experiment.yaml"]):
                    code = _exit_code()
                assert code == 0, job

    def stale(self, **changes: Any) -> dict[str, int]:
        """Rules that a dry run would run, each with its number of jobs; the rule `all` is left out."""
        run = self.snakemake("--dry-run", **changes)
        assert run.code == 0, run.output
        lines = run.output.splitlines()
        if "Job stats:" not in lines:
            assert "Nothing to be done" in run.output, run.output
            return {}
        start = lines.index("Job stats:") + 3
        rows = [line.split() for line in lines[start : lines.index("", start)]]
        return {name: int(count) for name, count in rows if name not in ("all", "total")}
