"""Write the pages of the reference and the captions of Snakemake's report, both made from the code.

`python docs/generate/reference_pages.py docs/reference src/outctl/workflow/report` writes both; without a second directory, the
pages.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from command_line_pages import command_line_page
from configuration_pages import configuration_page, registry_page, template_page
from result_pages import columns_page, files_page

from outctl.report.registry import FILES
from outctl.storage.files import write_text

PAGES: dict[str, Callable[[], str]] = {
    "configuration": configuration_page,
    "registry": registry_page,
    "template": template_page,
    "command-line": command_line_page,
    "files": files_page,
    "columns": columns_page,
}
"""Name of each page, and what makes it."""


def page_text(name: str) -> str:
    """One page, as its file holds it."""
    return f"<!-- Made from the code by `make reference`. -->\n\n{PAGES[name]().rstrip()}\n"


def write_pages(directory: Path) -> None:
    """Write all pages into a directory."""
    for name in PAGES:
        write_text(directory / f"{name}.md", page_text(name))


def caption(name: str) -> str:
    """Return the caption of a figure, as its file holds it."""
    return f"{FILES[name].caption} The numbers are in `figures/{name}.csv`.\n"


def write_captions(directory: Path) -> None:
    """Write the captions of all figures into a directory."""
    for name in FILES:
        write_text(directory / f"{name}.rst", caption(name))


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
    for captions in sys.argv[2:]:
        write_captions(Path(captions))
