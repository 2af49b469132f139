"""Figures drawn from the tables of their numbers."""

from collections.abc import Sequence
from pathlib import Path

from outctl.errors import OutctlError
from outctl.report.drawing import Drawing, draw
from outctl.report.figure_tables import read_figure_table
from outctl.report.registry import FILES
from outctl.storage.files import write_bytes


def draw_from_tables(folder: Path, output: Path, drawing: Drawing, names: Sequence[str] | None = None) -> list[Path]:
    """Draw figures from their numbers alone, `{figure}.csv`.

    Args:
        folder: where the numbers lie.
        output: where the figures go.
        drawing: how they are drawn.
        names: the figures; by default all whose numbers are there.

    Returns:
        The figures' files.

    Raises:
        OutctlError: a table is missing, or none of its figure.
    """
    if names is None:
        names = [name for name in FILES if (folder / f"{name}.csv").is_file()]
        if not names:
            raise OutctlError(
                f"{folder}: holds the numbers of no figure; they are called {', '.join(FILES)} and end in .csv"
            )
    tables = {name: read_figure_table(folder / f"{name}.csv", FILES[name]) for name in names}
    files = []
    for name, rows in tables.items():
        files.append(output / f"{name}.{drawing.format}")
        write_bytes(files[-1], draw(FILES[name], rows, drawing))
    return files
