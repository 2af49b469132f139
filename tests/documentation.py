"""What the documentation shows: fenced blocks of its pages, in their order."""

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
"""The pages of the site."""
MARKDOWN = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")), *PAGES]
"""All that is read in the repository."""
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
    """The fenced blocks of a page that are in one of these languages; all without any."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, match["language"], title[1] if title else "", dedent(match["text"])))
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", FENCE.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Where links and images of a page lead."""
    found = re.findall(r'\]\(([^)\s]+)\)|<img src="([^"]+)"', prose(page))
    return [markdown or html for markdown, html in found]


def anchors(page: Path) -> set[str]:
    """Where links into a page can end: its headings, as forges call them, and what has a name of its own."""
    text = FENCE.sub("", page.read_text())
    headings = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ +(.+)$", text, re.MULTILINE))
    named = re.findall(r'id="([^"]+)"', text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(named)


def section(block: Block) -> str:
    """The heading that a block stands under."""
    lines = block.page.read_text().splitlines()[: block.line]
    return next(line.removeprefix("## ") for line in reversed(lines) if line.startswith("## "))


def between(page: Path, name: str) -> str:
    """What stands between the marks of this name.

    Raises:
        ValueError: the page lacks them.
    """
    return _parted(page, name)[1]


def write_between(page: Path, name: str, text: str) -> None:
    """Put a text between the marks of this name.

    Raises:
        ValueError: the page lacks them.
    """
    before, _, after = _parted(page, name)
    page.write_text(f"{before}\n\n{text}\n\n{after}", encoding="utf-8")


def _parted(page: Path, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    text, last, after = rest.partition(end)
    if not mark or not last:
        raise ValueError(f"{page} lacks the marks {begin} and {end}")
    return before + begin, text.strip(), end + after
