"""Figures as files: the panels of the page beside and below each other, with one legend, as SVG, PDF or PNG."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Literal, NamedTuple

import vl_convert

from outctl.config.names import REFERENCES
from outctl.report.figure import Figure, Panel, Row, names_in
from outctl.report.looks import CONFIG, INK, LETTER, MUTED, Look, light

Format = Literal["svg", "pdf", "png"]
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first comes with `vl_convert`, so texts have the same width on every machine; the others are equally wide."""
GAP = 16
"""Room between panels, in pixels."""
NARROWER = 0.9
"""A panel of a file may be so much narrower than on the page."""
WIDER = 1.5
"""A panel of a file is at most so much wider than its least width."""
LINE = 16
"""Height of a line of text, in pixels."""
CHARACTER = 0.53 * LETTER
"""Mean width of a character, in pixels."""


@dataclass(frozen=True)
class Drawing:
    """How figures are drawn.

    Attributes:
        format: svg, pdf, or png with 300 dots an inch.
        width: in inches; panels that do not fit side by side go below.
        font_size: in points.
    """

    format: Format = "svg"
    width: float = 7.0
    font_size: float = 8.0


class _Picture(NamedTuple):
    """A part of a figure as SVG, with its size in pixels."""

    content: str
    width: float
    height: float


def draw(figure: Figure, rows: Sequence[Row], drawing: Drawing) -> bytes:
    """Draw a figure; equal rows give equal bytes.

    Args:
        figure: the figure.
        rows: its rows, at least one.
        drawing: format, width and font size.
    """
    scale = drawing.font_size / LETTER
    room = drawing.width * 72 / scale
    # References are lines with names of their own.
    variants = [name for name in names_in(rows, "variant") if name not in REFERENCES]
    panels = figure.arranged(rows, figure.views(rows, variants))
    body = _grid(figure, panels, room)
    present = names_in(rows, figure.key) if figure.key else []
    named = {name: look for name, look in figure.looks(rows, variants).items() if name in present}
    legend = _legend({**named, **figure.marks}, room)
    width, height = max(body.width, legend.width), body.height + legend.height
    # Points are the unit of a file of its own, and of converters without a unit.
    unit = "pt" if drawing.format == "svg" else ""
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * scale:.2f}{unit}" height="{height * scale:.2f}{unit}" '
        f'viewBox="0 0 {width:.2f} {height:.2f}" font-family="{FONT}" role="img">'
        f"<title>{escape(figure.title)}</title><desc>{escape(figure.caption)}</desc>"
        f'<rect width="100%" height="100%" fill="white"/>{body.content}'
        f'<g transform="translate({(width - legend.width) / 2:.2f},{body.height:.2f})">{legend.content}</g></svg>\n'
    )
    match drawing.format:
        case "svg":
            return text.encode()
        case "pdf":
            return _sorted_resources(vl_convert.svg_to_pdf(text))
    return bytes(vl_convert.svg_to_png(text, ppi=300))


def _sorted_resources(pdf: bytes) -> bytes:
    """A PDF with its lists of resources in order, which the converter leaves to chance; all else stays where it is."""
    return re.sub(rb"(?:\n +/\w+ \d+ 0 R){2,}", lambda found: b"\n".join(sorted(found[0].split(b"\n"))), pdf)


def _grid(figure: Figure, panels: Sequence[Panel], room: float) -> _Picture:
    """The panels in rows, as many side by side as there is room for; those of one place begin a row where they are several."""
    several = len({panel.view.title for panel in panels}) > 1
    named = len({panel.place.get("model") for panel in panels}) > 1 or figure.panels == ("model",)
    titles = [_title(panel, named) for panel in panels]
    least = max(NARROWER * panel.view.width for panel in panels)
    least = max(least, CHARACTER * max(len(line) for lines in titles for line in lines))
    columns = max(1, int((room + GAP) / (least + GAP)))
    places = [list(own) for _, own in groupby(range(len(panels)), key=lambda place: panels[place].place)]
    runs = places if several else [list(range(len(panels)))]
    lines = [run[start : start + columns] for run in runs for start in range(0, len(run), columns)]
    columns = max(map(len, lines))
    wide = min((room - GAP * (columns - 1)) / columns, max(least, WIDER * panels[0].view.width))
    content, top = [], 0.0
    for line in lines:
        drawn = [_plot(panels[place], wide, f"p{place}-") for place in line]
        above = LINE * max(len(titles[place]) for place in line) + 4
        for column, (place, picture) in enumerate(zip(line, drawn, strict=True)):
            heading = "".join(_line(text, number) for number, text in enumerate(titles[place]))
            content.append(
                f'<g transform="translate({column * (wide + GAP):.2f},{top:.2f})">{heading}'
                f'<g transform="translate(0,{above})">{picture.content}</g></g>'
            )
        top += above + max(picture.height for picture in drawn) + 8
    return _Picture("".join(content), columns * wide + (columns - 1) * GAP, top)


def _line(text: str, number: int) -> str:
    """A line of a panel's title, of which the first is darker. None is bold: a second font makes the bytes of a PDF vary."""
    colour = light(MUTED if number else INK)
    return f'<text x="2" y="{LINE * number + 12}" font-size="{LETTER}" fill="{colour}">{escape(text)}</text>'


def _title(panel: Panel, named: bool) -> list[str]:
    """The lines above a panel: what tells it from others, and how many samples it shows."""
    place = [value for key, value in panel.place.items() if named or key != "model"]
    samples = None if panel.samples is None else f"n = {panel.samples}"
    return [line for line in (*place, panel.view.title, samples) if line]


def _plot(panel: Panel, width: float, prefix: str) -> _Picture:
    """A panel's chart; its parts are referred to by names that begin with the prefix."""
    chart = light(panel.view.chart)
    datasets = {**chart.get("datasets", {}), "rows": panel.rows}
    axis = CONFIG["axis"] | {"labelLimit": 0}
    config: dict[str, Any] = light(CONFIG | {"font": FONT, "padding": 4, "axis": axis})
    svg = vl_convert.vegalite_to_svg(chart | {"width": math.floor(width), "datasets": datasets}, config=config)
    opening, content = re.match(r"<svg [^>]*>", svg), svg.removesuffix("</svg>")
    assert opening is not None
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', opening[0])
    assert size is not None
    # Vega counts the names of clip paths up from one chart to the next.
    names = list(dict.fromkeys(re.findall(r'id="([^"]+)"', content)))
    for number, name in enumerate(names):
        content = content.replace(f'"{name}"', f'"{prefix}{number}"').replace(
            f"url(#{name})", f"url(#{prefix}{number})"
        )
    return _Picture(content[opening.end() :], float(size[1]), float(size[2]))


def _legend(entries: Mapping[str, Look], room: float) -> _Picture:
    """The entries in columns, as many as there is room for."""
    if not entries:
        return _Picture("", 0.0, 0.0)
    wide = 30 + CHARACTER * max(map(len, entries))
    columns = max(1, min(len(entries), int(room / wide)))
    content = []
    for number, (name, look) in enumerate(entries.items()):
        drawn = f'fill="{light(look.colour)}"'
        if look.line:
            dash = " ".join(map(str, look.dash)) or "none"
            drawn = f'fill="none" stroke="{light(look.colour)}" stroke-width="1.5" stroke-dasharray="{dash}"'
        place = f"translate({number % columns * wide + 2:.2f},{number // columns * LINE + 4})"
        text = f'<text x="18" y="10" font-size="{LETTER}" fill="{light(INK)}">{escape(name)}</text>'
        content.append(f'<g transform="{place}"><path d="{look.path}" {drawn}/>{text}</g>')
    return _Picture("".join(content), columns * wide, math.ceil(len(entries) / columns) * LINE + 10)
