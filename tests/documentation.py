"""What the documentation shows: fenced blocks of its pages, in their order."""

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
"""The pages that are written by hand; the reference's others are made when the site is built."""
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        page: the page.
        line: the line that its text begins in.
        language: what stands behind the fence.
        title: the file that it is shown as, if any.
        text: what it holds.
    """

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page that are in one of these languages."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, match["language"], title[1] if title else "", dedent(match["text"])))
    return [block for block in found if block.language in languages]
