"""The plug-ins that the documentation shows."""

from pathlib import Path

from documentation import PAGES, blocks

TEXTS = {block.title: block.text for page in PAGES for block in blocks(page, "python") if block.title}
"""Their texts by the names of their files."""


def write_plugins(folder: Path, *names: str) -> list[str]:
    """Write some of them into a folder, and give their names as the configuration lists them."""
    for name in names:
        (folder / name).write_text(TEXTS[name])
    return list(names)
