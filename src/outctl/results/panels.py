"""What all figures have in common: panels in the room there is, colours and markers, one legend below."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from outctl.config.names import BASELINE, TEMPERATURE

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of adapters: those of Okabe and Ito, which colour-blind readers can tell apart."""
UNTRAINED = {BASELINE: ("#767676", "o"), TEMPERATURE: ("#767676", "D")}
"""What no adapter is part of is grey, and takes none of the adapters' looks, whether a figure shows it or not."""
MARKERS = ("D", "s", "^", "P", "v", ">", "o")
"""Of adapters, beside the colours, for prints without them: the shapes of the report, in its order."""


def names_in(rows: Sequence[Any], key: str) -> list[str]:
    """What stands in a column, each once, in its order."""
    return list(dict.fromkeys(getattr(row, key) for row in rows))


def drawn_as(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each name, both of which no two of 42 have in common; the baseline is grey, at any temperature."""
    others = [name for name in names if name not in UNTRAINED]
    drawn = dict(zip(others, zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False), strict=False))
    return {name: (drawn | UNTRAINED)[name] for name in names}


def size(points: float) -> float:
    """A length in inches, given in units of the font's size."""
    return float(points * mpl.rcParams["font.size"] / 72)


def panels_in(
    count: int,
    width: float,
    between: tuple[float, float],
    height: Callable[[float], float],
    most: int = 5,
    **shared: Any,
) -> tuple[Figure, list[Axes], int]:
    """Panels in rows, as many side by side as the width has room for.

    Args:
        count: number of panels.
        width: of the figure at most, in inches.
        between: width of a panel at least and at most, in units of the font's size.
        height: of a panel in inches, by its width.
        most: panels side by side at most.
        shared: whether axes are shared, as in `plt.subplots`.

    Returns:
        The figure, its panels in order, and how many are side by side.
    """
    columns = max(1, min(count, most, int(width / size(between[0]))))
    lines = math.ceil(count / columns)
    wide = min(width / columns, size(between[1]))
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(wide * columns, lines * height(wide) + size(4)),
        squeeze=False,
        # As constrained, and right for panels of a fixed shape, whose titles that leaves too little room for.
        layout="compressed",
        **shared,
    )
    panels = axes.flatten().tolist()
    for axis in panels[count:]:
        axis.set_visible(False)
        # The panel above is now the lowest of its column.
        panels[panels.index(axis) - columns].xaxis.set_tick_params(labelbottom=True)
    return figure, panels[:count], columns


def draw_curve(axis: Axes, places: Sequence[float], rows: Sequence[Any], column: str, colour: str, marker: str) -> None:
    """A column of rows at places along the axis, with the band of its interval."""
    axis.plot(
        places, [getattr(row, column) for row in rows], color=colour, marker=marker, markersize=2.5, linewidth=1.2
    )
    low, high = ([getattr(row, f"{column}{end}") for row in rows] for end in ("_low", "_high"))
    axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend for all panels, in as many columns as fit below them."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() / size(0.55 * longest + 4)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)))


def dots(drawn: dict[str, tuple[str, str]]) -> Iterator[Line2D]:
    """Handles of a legend for what is drawn as markers."""
    for name, (colour, marker) in drawn.items():
        yield Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=name)
