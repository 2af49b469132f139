"""The command line's entry."""

import io
import logging
import os
import signal
import sys
import warnings

from outctl.cli import doctor, exchange, init, interactive, steps
from outctl.cli.app import app
from outctl.errors import ending_in_one_line
from outctl.storage.checkpoints import end_at_once

__all__ = ["app", "doctor", "exchange", "init", "interactive", "main", "spread", "steps"]

MANY = {"--cases", "--models", "--words"}
"""Options that several values may follow, as in `--words ark atom`."""


def spread(arguments: list[str]) -> list[str]:
    """Repeat an option of `MANY` in front of each value that follows it, which is how the parser takes several."""
    result: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in MANY else ""
            if not option:
                result.append(argument)
        elif option:
            result += [option, argument]
        else:
            result.append(argument)
    return result


def _quiet() -> None:
    """Keep libraries from talking over the program."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    # PEFT asks a question that this version of transformers has renamed.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A log file shows how far a job is while it runs.
        sys.stdout.reconfigure(line_buffering=True)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line and exit code 1."""
    _quiet()
    signal.signal(signal.SIGTERM, end_at_once)
    with ending_in_one_line():
        app(args=spread(sys.argv[1:]))
