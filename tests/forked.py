"""The command line in real processes that need not import everything again: forks of one that has."""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

PRELOADED = (
    "torch",
    "torch.utils.tensorboard",
    "transformers.trainer",
    "peft",
    "outctl.cli.main",
    "outctl.finetune.trainer",
    "outctl.inference.word_probabilities",
    "outctl.models.loading",
)
"""What jobs import for seconds; modules that import these come with them."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
"""Tiny models gain nothing from threads; the rest is what the command line sets before it imports anything."""


@cache
def _context() -> ForkServerContext:
    """The process from which commands are forked, started by the first one."""
    os.environ.update(ENVIRONMENT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _run(arguments: list[str], folder: str, environment: dict[str, str], files: tuple[str, str]) -> None:
    """Become `python -m outctl` in a folder, with its own environment and output."""
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["outctl", *arguments]
    from outctl.cli.main import main

    main()


class Forked:
    """A command under way, with what of `subprocess.Popen` tests use.

    Args:
        arguments: those of the command line.
        folder: the working directory.
        environment: changes to the environment.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._files = [Path(tempfile.mkstemp(suffix=name)[1]) for name in (".out", ".err")]
        changed = os.environ | ENVIRONMENT | dict(environment or {})
        names = tuple(map(str, self._files))
        self._process = _context().Process(target=_run, args=(list(arguments), str(folder), dict(changed), names))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code; the negative number of a signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Give it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Exit code, once it has ended."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def first_line(self) -> str:
        """What it prints first, as soon as it does."""
        while "\n" not in (text := self._files[0].read_text()) and self.poll() is None:
            time.sleep(0.005)
        return text.partition("\n")[0]

    def communicate(self) -> tuple[str, str]:
        """Output and errors, once it has ended."""
        self.wait()
        out, err = (file.read_text() for file in self._files)
        return out, err
