"""Keep back what transformers prints about a checkpoint: its tables and progress bars."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Print neither: what is wrong with a checkpoint is said in one line by whoever refuses it."""
    from transformers.utils import logging as printing

    level, bars = printing.get_verbosity(), printing.is_progress_bar_enabled()
    printing.set_verbosity(logging.CRITICAL)
    printing.disable_progress_bar()
    try:
        yield
    finally:
        printing.set_verbosity(level)
        if bars:
            printing.enable_progress_bar()
