"""How figures look, on the page and in files: colours, shapes, legends, and the theme of Vega."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from outctl.config.names import BASELINE, TEMPERATURE

THEME = {
    "paper": ("#ffffff", "#15181b"),
    "ink": ("#1b1f23", "#e9ebee"),
    "muted": ("#57606a", "#a4adb6"),
    "faint": ("#aab3bc", "#66707a"),
    "rule": ("#e1e5e9", "#30363c"),
    "series-0": ("#767676", "#a5a5a5"),
    "series-1": ("#0072b2", "#4fb0e8"),
    "series-2": ("#c85600", "#f08b3e"),
    "series-3": ("#008a65", "#2fc79b"),
    "series-4": ("#b65a8d", "#dd97bd"),
    "series-5": ("#a06e00", "#e6b73c"),
    "series-6": ("#5b4fb5", "#aba2f2"),
    "elsewhere": ("#8a949e", "#6b7681"),
    "split": ("#d55e00", "#f08b3e"),
}
"""Each colour on light and on dark paper. Charts name them as CSS variables, such as `var(--ink)`; files use the light ones."""
PAPER = "var(--paper)"
INK = "var(--ink)"
MUTED = "var(--muted)"
FAINT = "var(--faint)"
GREY = "var(--series-0)"
COLOURS = [f"var(--{name})" for name in THEME if name.startswith("series-")][1:]
SYMBOLS = {
    "diamond": "M6,0.5L11.5,6L6,11.5L0.5,6Z",
    "square": "M1.5,1.5H10.5V10.5H1.5Z",
    "triangle-up": "M6,1L11.5,11H0.5Z",
    "cross": "M4,0.5H8V4H11.5V8H8V11.5H4V8H0.5V4H4Z",
    "triangle-down": "M0.5,1H11.5L6,11Z",
    "triangle-right": "M1,0.5L11,6L1,11.5Z",
    "circle": "M6,1.5A4.5,4.5 0 1 1 5.99,1.5Z",
}
"""The shapes of Vega that stand for variants and models, each as a path of 12 by 12 units for legends."""
SHAPES = tuple(SYMBOLS)
LETTER = 11.5
"""Size of labels in pixels."""
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "labelFontSize": LETTER,
        "titleFontSize": LETTER,
        "gridColor": "var(--rule)",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    },
    "axisXQuantitative": {"labelFlush": True, "labelSeparation": 6},
    "text": {"color": INK},
    # Each panel has a description of its own; screen readers would read the marks one by one.
    "aria": False,
}
"""The theme of Vega-Lite."""


class Look(NamedTuple):
    """How a variant, a model or a part is drawn.

    Attributes:
        colour: its colour.
        path: its path in a legend, in 12 by 12 units.
        shape: the shape of its marks, where these tell something apart.
        line: whether the path is a line rather than an outline that is filled.
        dash: dashes of the line; empty for a whole one.
    """

    colour: str
    path: str = SYMBOLS["square"]
    shape: str = "square"
    line: bool = False
    dash: tuple[int, ...] = ()


def marked(colour: str, shape: str) -> Look:
    """Return the look of marks."""
    return Look(colour, SYMBOLS[shape], shape)


def lined(*dash: int, upright: bool = False) -> Look:
    """Return the look of a reference line."""
    return Look(INK, "M6,0V12" if upright else "M0,6H12", line=True, dash=dash)


UNTRAINED = {BASELINE: marked(GREY, "circle"), TEMPERATURE: marked(GREY, "diamond")}
"""Variants without an adapter are grey."""


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return the look of each name: colours and shapes take turns, so 42 names differ in one of them."""
    return {
        name: marked(COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]) for number, name in enumerate(names)
    }


def variant_looks(variants: Sequence[str]) -> dict[str, Look]:
    """Return the look of each variant; only those without an adapter are grey, and they take no adapter's look."""
    looks = looks_of([name for name in variants if name not in UNTRAINED]) | UNTRAINED
    return {name: looks[name] for name in variants}


def light(value: Any) -> Any:
    """Replace the variables in a chart or a text by the colours on light paper."""
    if isinstance(value, dict):
        return {key: light(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [light(item) for item in value]
    if isinstance(value, str) and value.startswith("var(--"):
        return THEME[value.removeprefix("var(--").removesuffix(")")][0]
    return value


def css_variables() -> str:
    """Return the colours as CSS."""
    lines = "\n".join(f"  --{name}: light-dark({on_light}, {on_dark});" for name, (on_light, on_dark) in THEME.items())
    return f":root {{\n{lines}\n}}"
