"""Parts that charts share, as Vega-Lite specifications. A chart names colours as CSS variables, such as `var(--ink)`."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from outctl.report.conclusion import decimals
from outctl.report.figure import Row
from outctl.report.looks import INK, Look

SHARE = alt.Scale(domain=[0, 1])
# Ends at the last of five ticks, whose label then takes the same room above the plot in every panel.
TO_A_TICK = alt.Scale(nice=5)


def spec(chart: Any, height: int) -> dict[str, Any]:
    """Return a chart as a specification with the height of its plot; whoever draws it sets the width, axes included."""
    size = alt.AutoSizeParams(type="fit-x", contains="padding")
    content: dict[str, Any] = chart.properties(width="container", height=height, autosize=size).to_dict()
    # Altair's own theme.
    content.pop("config", None)
    return content


def data() -> alt.Chart:
    """Return a chart of the panel's rows."""
    return alt.Chart(alt.NamedData(name="rows"))


def constants(**values: float | list[float]) -> alt.Chart:
    """Return a chart of fixed values."""
    columns = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.Chart(alt.InlineData(values=rows))


def colour(looks: Mapping[str, Look], key: str = "variant") -> alt.Color:
    """Return the colours of names."""
    colours = [look.colour for look in looks.values()]
    return alt.Color(f"{key}:N", scale=alt.Scale(domain=list(looks), range=colours), legend=None)


def shape(looks: Mapping[str, Look], key: str = "variant") -> alt.Shape:
    """Return the shapes of names."""
    shapes = [look.shape for look in looks.values()]
    return alt.Shape(f"{key}:N", scale=alt.Scale(domain=list(looks), range=shapes), legend=None)


def tips(*names: str, numbers: Sequence[str] = ()) -> list[alt.Tooltip]:
    """Return the tooltip of a mark."""
    return [
        *(alt.Tooltip(f"{name}:N", title=name.replace("_", " ")) for name in names),
        *(alt.Tooltip(f"{name}:Q", title=name.replace("_", " "), format=".3~f") for name in numbers),
    ]


def control_line() -> alt.Chart:
    """Return a line at the slope of control, 1."""
    line: alt.Chart = constants(control=1).mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1).encode(y="control:Q")
    return line


def curves(
    rows: alt.Chart, looks: Mapping[str, Look], x: alt.X, name: str, scale: alt.Scale, title: str, *counts: str
) -> list[alt.Chart]:
    """Return the layers of a curve for each adapter: the band of its interval where there is one, a line, and points.

    Args:
        rows: a chart of the rows.
        looks: the look of each adapter.
        x: the horizontal axis.
        name: the column to show.
        scale: the scale of the vertical axis.
        title: its title.
        counts: further numbers for the tooltip.
    """
    base = rows.transform_filter(f"isValid(datum.{name})").encode(x=x, color=colour(looks))
    y = alt.Y(f"{name}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    ends = {"y": alt.Y(f"{name}_low:Q", title=title, scale=scale), "y2": f"{name}_high:Q"}
    # Bands of many adapters overlap.
    band = base.transform_filter(f"isValid(datum.{name}_low)").mark_area(opacity=min(0.2, 0.6 / len(looks)))
    points = base.mark_point(filled=True, size=30, opacity=1)
    return [
        band.encode(**ends),
        base.mark_line(strokeWidth=2).encode(y=y),
        points.encode(y=y, shape=shape(looks), tooltip=tips("variant", numbers=[*counts, name])),
    ]


def number(value: float | None) -> str:
    """Return a number for a description."""
    return "undefined" if value is None else decimals(value, 2)


def each(found: Sequence[Row], label: str, value: str) -> str:
    """Return the defined numbers of a column for a description, each with its label."""
    return ", ".join(f"{row[label]} {number(row[value])}" for row in found if row[value] is not None)


def ends(curves: Mapping[str, Sequence[Row]], column: str) -> str:
    """Return the first and the last number of each training's curve for a description."""
    lines = []
    for name, rows in curves.items():
        first, last = rows[0], rows[-1]
        lines.append(
            f"{name} from {number(first[column])} after {first['samples']} samples to {number(last[column])} after "
            f"{last['samples']}"
        )
    return "; ".join(lines)
