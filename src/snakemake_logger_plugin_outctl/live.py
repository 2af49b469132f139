"""The display on a terminal: what is done scrolls by, what runs stands below it."""

import sys
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from snakemake_logger_plugin_outctl.jobs import Jobs, in_words

MOST_ROWS = 8
"""Running jobs that are listed at most."""


class LiveDisplay:
    """Prints lines, and keeps the state of the run below them from the first job to the last.

    Args:
        jobs: the jobs of the run, as they are at any moment.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("dots", style="cyan")
        self._live: Live | None = None

    def show(self) -> None:
        """Show the state of the run from now on."""
        if self._live is None:
            # What the workflow itself prints appears above; where standard output is a file, it stays one.
            self._live = Live(
                get_renderable=self.render,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()

    def hide(self) -> None:
        """Leave the terminal to others: nothing but the printed lines stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, text: str, style: str = "") -> None:
        """Print a line, which the terminal wraps where it is longer, so that it can be copied."""
        self.console.print(Text(text, style), soft_wrap=True)

    def render(self) -> RenderableType:
        """The state of the run."""
        jobs = self.jobs
        total = Table.grid(padding=(0, 2, 0, 0))
        total.add_row(
            ProgressBar(total=max(1, jobs.total), completed=jobs.done, width=30),
            f"{jobs.done} of {jobs.total} jobs done",
            Text(jobs.time_left(), "cyan"),
        )
        running = Table.grid(padding=(0, 2, 0, 0))
        running.add_column(width=1)
        running.add_column(overflow="ellipsis", no_wrap=True)
        for _ in range(2):
            running.add_column(justify="right", no_wrap=True)
        shown = list(jobs.running.values())
        for job in shown[:MOST_ROWS]:
            found = job.progress()
            far = "waiting" if job.waiting else f"{found[0]} of {found[1]} {found[2]}" if found else ""
            running.add_row(self._spinner, job.text, Text(far, "cyan"), Text(in_words(job.seconds), "dim"))
        parts: Sequence[RenderableType] = [total, running]
        if len(shown) > MOST_ROWS:
            parts = [*parts, f"  and {len(shown) - MOST_ROWS} more"]
        return Group("", *parts)
