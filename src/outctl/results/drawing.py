"""Figures for a paper, from the numbers that they show."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt

from outctl.errors import OutctlError
from outctl.results.figure_tables import read_figure_table
from outctl.results.plots import PLOTS
from outctl.storage.files import write_bytes

Format = Literal["svg", "pdf", "png"]

STYLE: Any = {
    "axes.titlesize": "medium",
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "legend.fontsize": "small",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "outctl",
    # Type 3 fonts are refused by some journals.
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}
UNDATED: dict[Format, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}
"""Metadata without which equal figures would differ."""


@dataclass(frozen=True)
class Drawing:
    """How figures are drawn.

    Attributes:
        format: svg, pdf, or png with 300 dots an inch.
        width: in inches; what does not fit side by side goes below.
        font_size: in points.
    """

    format: Format = "svg"
    width: float = 7.0
    font_size: float = 8.0


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
        names = [name for name in PLOTS if (folder / f"{name}.csv").is_file()]
        if not names:
            raise OutctlError(
                f"{folder}: holds the numbers of no figure; they are called {', '.join(PLOTS)} and end in .csv"
            )
    tables = {name: read_figure_table(folder / f"{name}.csv", name) for name in names}
    files = []
    with mpl.rc_context(STYLE | {"font.size": drawing.font_size}):
        for name, rows in tables.items():
            figure = PLOTS[name](rows, drawing.width)
            content = io.BytesIO()
            figure.savefig(content, format=drawing.format, metadata=UNDATED[drawing.format])
            plt.close(figure)
            files.append(output / f"{name}.{drawing.format}")
            write_bytes(files[-1], content.getvalue())
    return files
