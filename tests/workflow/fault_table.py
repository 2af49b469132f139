"""The table of what was done to runs of the workflow, and how they ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scene import Scene

TARGET = "OUTCTL_FAULT_TABLE"
"""Environment variable: the document whose section is replaced by the table."""
HEAD = ("", "fault", "struck after, while", "typed then", "starts", "results")


class FaultTable:
    """Rows of faults.

    Args:
        section: the section's name in the document: it stands between two comments that name it.
    """

    def __init__(self, section: str) -> None:
        self.section = section
        self.rows: list[tuple[str, ...]] = []

    @contextmanager
    def row(self, name: str, scene: Scene) -> Iterator[None]:
        """Take down how a fault ended: well if the block does."""
        verdict = "**differ**"
        try:
            yield
            verdict = "identical"
        finally:
            typed = ", ".join(scene.typed) or "nothing"
            self.rows.append((str(len(self.rows) + 1), name, scene.moment, typed, str(scene.starts), verdict))

    def publish(self) -> None:
        """Print the table, and write it into the document if there is to be one."""
        lines = [" | ".join(row).join(("| ", " |")) for row in (HEAD, ("---",) * len(HEAD), *self.rows)]
        print("", *lines, sep="\n")
        if target := os.environ.get(TARGET):
            begin, end = f"<!-- {self.section}: made by `make faults` -->", f"<!-- end of {self.section} -->"
            document = Path(target)
            before, _, rest = document.read_text().partition(begin)
            _, _, after = rest.partition(end)
            document.write_text("\n".join([before + begin, "", *lines, "", end + after]))
