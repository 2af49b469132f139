"""The charts of the figures, as Vega-Lite specifications without their data.

The page gives each chart its rows as the data set `rows`, its width, and the colours of the theme: texts such as
`var(--ink)` name a variable of the style sheet.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from outctl.config.names import BASELINE, TEMPERATURE

INK, FAINT = "var(--ink)", "var(--faint)"
SHAPE = "square"
"""Where shapes tell nothing apart."""
SHAPES = ("diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "circle")
"""Beside its colour each variant or model has a shape, for those who cannot tell the colours apart."""
BASELINE_COLOUR, *COLOURS = (f"var(--series-{number})" for number in range(7))
LABEL = 150
"""How wide a label may be, in pixels, before it is cut."""
UPRIGHT = 4
"""From so many columns on, a heat map's names of columns are slanted, where they are not short."""
SHORT = 6
"""Names of so many letters fit below the narrowest column."""


class Look(NamedTuple):
    """How a variant, a model or a part is drawn."""

    colour: str
    shape: str = SHAPE


UNTRAINED = {BASELINE: Look(BASELINE_COLOUR, "circle"), TEMPERATURE: Look(BASELINE_COLOUR, "diamond")}
"""What no adapter is part of, as in the other figures."""
PARTS = {"mass elsewhere": Look("var(--elsewhere)"), "wrong split": Look("var(--split)")}
"""The two parts of a distance."""


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """The look of each name.

    There is one colour less than shapes, so 42 names differ in one of them before both come round again.
    """
    return {
        name: Look(COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]) for number, name in enumerate(names)
    }


def variant_looks(variants: Sequence[str], shown: Sequence[str] | None = None) -> dict[str, Look]:
    """The look of each variant, which is the same in every figure; the baseline alone is grey, at any temperature.

    Args:
        variants: all variants.
        shown: those that are wanted; all without it.
    """
    looks = looks_of([name for name in variants if name not in UNTRAINED]) | UNTRAINED
    return {name: looks[name] for name in shown or variants}


_SHARE = alt.Scale(domain=[0, 1])
# Ends at the last of five ticks, whose label then takes the same room above the plot in every panel.
_TO_A_TICK = alt.Scale(nice=5)
_SHARES = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".0%", labelOverlap=True)


def _spec(chart: Any, height: int) -> dict[str, Any]:
    # The width is the page's; the height is that of the plot itself, whatever its axes take.
    size = alt.AutoSizeParams(type="fit-x", contains="padding")
    content: dict[str, Any] = chart.properties(width="container", height=height, autosize=size).to_dict()
    # The page has its own theme, and what Altair would set beside is not wanted.
    content.pop("config", None)
    return content


def _rows() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="rows"))


def _colour(looks: Mapping[str, Look], key: str = "variant") -> alt.Color:
    colours = [look.colour for look in looks.values()]
    return alt.Color(f"{key}:N", scale=alt.Scale(domain=list(looks), range=colours), legend=None)


def _shape(looks: Mapping[str, Look], key: str = "variant") -> alt.Shape:
    shapes = [look.shape for look in looks.values()]
    return alt.Shape(f"{key}:N", scale=alt.Scale(domain=list(looks), range=shapes), legend=None)


def _tips(*names: str, numbers: Sequence[str] = ()) -> list[alt.Tooltip]:
    return [
        *(alt.Tooltip(f"{name}:N", title=name.replace("_", " ")) for name in names),
        *(alt.Tooltip(f"{name}:Q", title=name.replace("_", " "), format=".3~f") for name in numbers),
    ]


def headline(looks: Mapping[str, Look], cases: Sequence[str]) -> dict[str, Any]:
    """Mean distance of each variant on each case with its interval, and what the better fixed rule scores as a tick."""
    y = alt.Y("case:N", sort=list(cases), title=None, axis=alt.Axis(grid=True, labelLimit=LABEL))
    x = alt.X("avg_tvd:Q", scale=_SHARE, title="mean TVD; 0 is perfect", axis=alt.Axis(tickCount=5))
    base = _rows()
    # A line a variant, so that none covers another with the same distance.
    beside = alt.YOffset("variant:N", sort=list(looks))
    fixed_rule = base.mark_tick(thickness=2, size=15, color=INK).encode(x="min(fixed_rule):Q", y=y)
    own = base.encode(y=y, yOffset=beside, color=_colour(looks))
    ends = own.mark_rule(strokeWidth=2).encode(x="avg_tvd_low:Q", x2="avg_tvd_high:Q")
    numbers = ("avg_tvd", "avg_tvd_low", "avg_tvd_high", "fixed_rule")
    points = own.mark_point(filled=True, size=75, opacity=1).encode(
        x=x, shape=_shape(looks), tooltip=_tips("variant", "case", numbers=numbers)
    )
    return _spec(alt.layer(fixed_rule, ends, points), max(25, 10 * len(looks)) * len(cases))


def calibration(looks: Mapping[str, Look]) -> dict[str, Any]:
    """Asked share against given share, a point a sample, with each variant's least-squares line."""
    x = alt.X("asked:Q", scale=_SHARE, title="asked", axis=_SHARES)
    y = alt.Y("given:Q", scale=_SHARE, title="given", axis=_SHARES)
    corners = alt.Chart(alt.InlineData(values=[{"asked": 0, "given": 0}, {"asked": 1, "given": 1}]))
    diagonal = corners.mark_line(color=INK, strokeWidth=1).encode(x=x, y=y)
    base = _rows()
    even = base.mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1).encode(y="mean(even):Q")
    tips = _tips("variant", "words", numbers=("asked", "given", "mass", "tvd"))
    points = base.mark_point(filled=True, size=26, opacity=0.55).encode(
        x=x, y=y, color=_colour(looks), shape=_shape(looks), tooltip=tips
    )
    fitted = (
        base.transform_regression("asked", "given", groupby=["variant"])
        .mark_line(strokeWidth=2.5, clip=True)
        .encode(x=x, y=y, color=_colour(looks))
    )
    return _spec(alt.layer(diagonal, even, points, fitted), 190)


def distances() -> dict[str, Any]:
    """Every sample a bar, nearest first: how much of its distance is mass elsewhere, and how much a wrong split."""
    parts = list(PARTS)
    bars = (
        _rows()
        .transform_fold([*parts], as_=["part", "size"])
        .transform_calculate(order=f"datum.part === '{parts[0]}' ? 0 : 1")
        .mark_bar()
        .encode(
            x=alt.X("rank:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0)),
            y=alt.Y("size:Q", stack="zero", scale=_SHARE, title="TVD", axis=alt.Axis(tickCount=3)),
            color=_colour(PARTS, "part"),
            order="order:Q",
            tooltip=_tips("sample", numbers=("tvd", *parts)),
        )
    )
    tolerance = _rows().mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1).encode(y="mean(tolerance):Q")
    return _spec(alt.layer(bars, tolerance), 110)


def matrix(variants: Sequence[str], cases: Sequence[str]) -> dict[str, Any]:
    """A number of every variant on every case as a heat map, bright where it is good; frames mark what was trained on."""
    # The longer list goes down, where there is room for any number of names.
    (across, columns), (down, lines) = ("variant", variants), ("case", cases)
    if len(columns) > len(lines):
        (across, columns), (down, lines) = (down, lines), (across, columns)
    # Distances run from good to bad, and a slope beyond 1 is as far from control as one below it.
    shade = "datum.metric === 'mean TVD' ? 1 - datum.value : max(0, 1 - abs(datum.value - 1))"

    def scale(names: Sequence[str]) -> alt.Scale:
        # All names in every panel, whatever it has numbers of, so that the same stand side by side.
        return alt.Scale(domain=list(names), paddingInner=0.04, paddingOuter=0)

    angle = 0 if len(columns) < UPRIGHT or max(map(len, columns)) <= SHORT else -40
    base = (
        _rows()
        .transform_calculate(shade=f"isValid(datum.value) ? {shade} : null")
        .encode(
            x=alt.X(f"{across}:N", scale=scale(columns), title=None, axis=alt.Axis(labelAngle=angle)),
            y=alt.Y(f"{down}:N", scale=scale(lines), title=None, axis=alt.Axis(labelLimit=LABEL)),
            tooltip=_tips("variant", "case", "trained_on", numbers=("value", "low", "high")),
        )
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color("shade:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), legend=None)
    )
    # Against every shade, and against the page where what is undefined has no cell.
    legible = (
        alt.when("!isValid(datum.shade)")
        .then(alt.value("var(--muted)"))
        .when("datum.shade > 0.5")
        .then(alt.value("black"))
        .otherwise(alt.value("white"))
    )
    frames = (
        base.transform_filter("datum.trained_on")
        .mark_rect(
            filled=False,
            strokeWidth=1.5,
            cornerRadius=2,
            width=alt.RelativeBandSize(band=0.93),
            height=alt.RelativeBandSize(band=0.82),
        )
        .encode(stroke=legible)
    )
    texts = (
        base.transform_calculate(shown="isValid(datum.value) ? format(datum.value, '.2f') : '–'")
        .mark_text(fontSize=alt.ExprRef("min(12, bandwidth('x') / 2.6)"))
        .encode(text="shown:N", color=legible)
    )
    return _spec(alt.layer(cells, frames, texts), 28 * len(lines))


def training(looks: Mapping[str, Look]) -> dict[str, Any]:
    """What a training measured on its way, against the samples seen, with intervals where there are some."""
    x = alt.X("samples:Q", title="training samples seen", axis=alt.Axis(tickCount=4))
    y = alt.Y("value:Q", title=None, scale=_TO_A_TICK, axis=alt.Axis(tickCount=5))
    tips = _tips("variant", numbers=("samples", "value"))
    return _curves(looks, x, y, ("low", "high"), None, tips)


def _curves(
    looks: Mapping[str, Look],
    x: alt.X,
    y: alt.Y,
    ends: tuple[str, str],
    title: str | None,
    tips: list[alt.Tooltip],
) -> dict[str, Any]:
    """A line with points for each adapter, and the band between the columns of its ends where these are defined."""
    low, high = ends
    base = _rows()
    # Bands of many adapters lie upon each other.
    band = base.transform_filter(f"isValid(datum.{low})")
    return _spec(
        alt.layer(
            band.mark_area(opacity=min(0.2, 0.6 / len(looks))).encode(
                x=x, y=alt.Y(f"{low}:Q", title=title), y2=f"{high}:Q", color=_colour(looks)
            ),
            base.mark_line(strokeWidth=2).encode(x=x, y=y, color=_colour(looks)),
            base.mark_point(filled=True, size=30, opacity=1).encode(
                x=x, y=y, color=_colour(looks), shape=_shape(looks), tooltip=tips
            ),
        ),
        200,
    )


def _with_intervals(x: str, y: str, titles: tuple[str, str], colour: alt.Color, shape: alt.Shape, label: str) -> Any:
    across = alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))
    up = alt.Y(f"{y}:Q", title=titles[1], scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))
    base = _rows()
    return alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(x=f"{x}_low:Q", x2=f"{x}_high:Q", y=up, color=colour),
        base.mark_rule(strokeWidth=1.5).encode(x=across, y=f"{y}_low:Q", y2=f"{y}_high:Q", color=colour),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=across, y=up, color=colour, shape=shape, tooltip=_tips("model", label, numbers=(x, y))
        ),
    )


def retention(looks: Mapping[str, Look]) -> dict[str, Any]:
    """Distance on the first case trained on, against the divergence on neutral prompts."""
    titles = ("KL on neutral prompts, nats a token", "mean TVD, case trained on")
    chart = _with_intervals("kl", "avg_tvd", titles, _colour(looks), _shape(looks), "variant")
    return _spec(chart, 240)


def retention_positions(looks: Mapping[str, Look]) -> dict[str, Any]:
    """How far training moved a model at each token of an answer or text, with intervals."""
    scale = alt.Scale(type="log", base=2, nice=False)
    x = alt.X("position:Q", title="token", scale=scale, axis=alt.Axis(values=[2**k for k in range(11)], format="d"))
    titled = "KL(baseline ‖ adapter), nats"
    tips = _tips("variant", numbers=("first", "last", "count", "kl", "kl_low", "kl_high"))
    y = alt.Y("kl:Q", title=titled, scale=_TO_A_TICK, axis=alt.Axis(tickCount=5))
    return _curves(looks, x, y, ("kl_low", "kl_high"), titled, tips)


def deviation(looks: Mapping[str, Look], answers: int) -> dict[str, Any]:
    """Where each of so many answers first deviates: 0 to 1 is inside the window; circles pass, crosses do not."""
    window = alt.Chart(alt.InlineData(values=[{"from": 0, "to": 1}]))
    title = "first deviation, in window lengths"
    x = alt.X("relative:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    # A gap between variants, so that it is plain whose an answer is.
    gaps = alt.Scale(paddingInner=0.3, paddingOuter=0.15)
    y = alt.Y("variant:N", sort=list(looks), scale=gaps, title=None, axis=alt.Axis(labelLimit=LABEL))
    marks = alt.Scale(domain=[True, False], range=["circle", "M-0.7,-0.7L0.7,0.7M0.7,-0.7L-0.7,0.7"])
    passed = alt.Shape("passed:N", scale=marks, legend=None)
    return _spec(
        alt.layer(
            window.mark_rect(color=FAINT, opacity=0.25).encode(x=alt.X("from:Q", title=title), x2="to:Q"),
            _rows()
            .mark_point(size=55, strokeWidth=1.6, opacity=1)
            .encode(
                x=x,
                y=y,
                yOffset=alt.YOffset("place:O"),
                color=_colour(looks),
                shape=passed,
                tooltip=_tips("text", "answer", "deviating_word", numbers=("position", "wait", "window")),
            ),
        ),
        20 + max(20, min(9 * answers, 64)) * len(looks),
    )


def sweeps(looks: Mapping[str, Look], most: int) -> dict[str, Any]:
    """A number of each variation, at most so many, of a recipe on the first case that it trains on.

    What the recipe itself has is a line too.
    """
    colour, shape = _colour(looks, "model"), _shape(looks, "model")
    y = alt.Y("variation:N", sort=None, title=None, axis=alt.Axis(grid=True, labelLimit=LABEL))
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    rows = _rows()
    line = rows.transform_filter("datum.base").mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(x=x, color=colour)
    # Models side by side, where there are several.
    base = rows.encode(yOffset=alt.YOffset("model:N", sort=list(looks))) if len(looks) > 1 else rows
    tips = _tips("model", "variant", "case", numbers=("value", "low", "high"))
    marks = base.encode(x=x, y=y, color=colour, shape=shape, tooltip=tips)
    return _spec(
        alt.layer(
            line,
            base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", y=y, color=colour),
            marks.transform_filter("!datum.base").mark_point(filled=True, size=65, opacity=1),
            marks.transform_filter("datum.base").mark_point(fill="var(--paper)", size=60, opacity=1, strokeWidth=2),
        ),
        most * max(26, 13 * len(looks)),
    )
