"""The figures. A new one is a file in `figures/` and its line here."""

from outctl.report.figure import Figure
from outctl.report.figures import (
    calibration,
    deviation,
    distances,
    learning_curves,
    loss,
    matrix,
    retention,
    retention_positions,
    sweeps,
    tvd,
)


def _named(*figures: Figure) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


FILES = _named(
    calibration.FIGURE,
    tvd.FIGURE,
    matrix.FIGURE,
    learning_curves.FIGURE,
    sweeps.FIGURE,
    retention.FIGURE,
    retention_positions.FIGURE,
    deviation.FIGURE,
)
"""Figures that have a file and a table too."""
FIGURES = {**FILES, **_named(distances.FIGURE, loss.FIGURE)}
"""All figures by name, in each section in the order of the page."""
