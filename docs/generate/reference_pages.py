"""A hook of MkDocs: the pages of the reference, made from the code at each build, so that they cannot lag behind it."""

from collections.abc import Callable
from typing import Any

from command_line_pages import command_line_page
from configuration_pages import configuration_page, registry_page, template_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from result_pages import columns_page, files_page

PAGES: dict[str, Callable[[], str]] = {
    "configuration": configuration_page,
    "registry": registry_page,
    "template": template_page,
    "command-line": command_line_page,
    "files": files_page,
    "columns": columns_page,
}
"""Name of each page below `reference/`, and what writes it."""


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages to those that lie in `docs/`."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files
