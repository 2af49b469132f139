"""The staleness table as it is printed: what was changed, what reran, and whether that was expected."""

from dataclasses import dataclass
from itertools import groupby

import pytest


@dataclass(frozen=True)
class Checked:
    """A row of the table.

    Attributes:
        group: what kind of change it is.
        change: the change.
        jobs: patterns of the jobs that must rerun.
        number: how many jobs rerun.
        verdict: `yes`, or what was missed or needless.
    """

    group: str
    change: str
    jobs: tuple[str, ...]
    number: int
    verdict: str


CHECKED = pytest.StashKey[list[Checked]]()
"""Where tests keep the rows that they have checked."""


def markdown(rows: list[Checked]) -> str:
    """The table in Markdown, a part a group."""
    parts = []
    for group, found in groupby(rows, lambda row: row.group):
        lines = [f"**{group}**", "", "| change | jobs that rerun | as expected |", "|---|---|---|"]
        for row in found:
            jobs = f"{row.number}: {', '.join(f'`{job}`' for job in row.jobs)}" if row.number else "none"
            lines.append(f"| {row.change} | {jobs} | {row.verdict} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
