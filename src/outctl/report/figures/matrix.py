"""Every variant on every case, as heat maps."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from outctl.config.names import DEVIATION
from outctl.report import charts
from outctl.report.figure import Figure, FigureRow, Measured, Row, View, grouped, names_in, with_ends

FEW = 4
"""Fewer columns than this are wide."""
WIDTHS = {True: 80, False: 45}
"""The least width of a column in pixels, of few or of many."""
SLOPES = {"slope of control": "control_slope", "slope within ranks": "within_slope"}
"""The maps of slopes, and their columns."""
LETTER = 6.5
"""Room that a letter of a column's name takes; names that do not fit are slanted."""


class MatrixRow(FigureRow):
    """A cell of each heat map of `matrix`; in rows of `base_model_deviation` the map of distances shows `failing`."""

    case_type: str
    """The case."""
    num_trials: int
    """Number of samples."""
    trained_on: bool
    """Whether the adapter was trained on this case."""
    avg_tvd: float
    """Mean total variation distance; undefined in a row of `base_model_deviation`."""
    control_slope: float
    """Slope of control; undefined in a row of `base_model_deviation`."""
    within_slope: float
    """Slope within ranks, of the largest share alone; undefined in a row of `base_model_deviation`."""
    failing: float
    """Share of samples that do not pass `base_model_deviation`; undefined in the other rows."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each variant and case, and for each variant in `base_model_deviation` where it was measured."""
    experiment, numbers = measured.experiment, with_ends("avg_tvd", *SLOPES.values(), "failing")
    for model, results in measured.results.items():
        summary, deviation = measured.summary(model), results["base_model_deviation"]
        broken_off = {row["variant"]: row for row in deviation["summary"]} if deviation else {}
        for variant in experiment.variants_of(model):
            for case in experiment.cases:
                row = summary[variant, case]
                place = {"model": model, "variant": variant, "case_type": case, "num_trials": row["num_trials"]}
                trained = case in experiment.trained_on.get(variant, [])
                yield {**place, "trained_on": trained, **{name: row.get(name) for name in numbers}}
            if variant in broken_off:
                row = broken_off[variant]
                place = {"model": model, "variant": variant, "case_type": DEVIATION, "num_trials": row["num_trials"]}
                passing = (row["pass_rate"], row["pass_rate_high"], row["pass_rate_low"])
                failing = [None if rate is None else 1.0 - rate for rate in passing]
                yield {
                    **place,
                    "trained_on": False,
                    **dict.fromkeys(numbers),
                    **dict(zip(with_ends("failing"), failing, strict=True)),
                }


def _label(case: str) -> str:
    return f"{DEVIATION}: failing" if case == DEVIATION else case


def _heat_map(value: str, shade: str, lists: dict[str, list[str]], tips: list[alt.Tooltip]) -> dict[str, Any]:
    """A cell for each number, brighter where it is better; frames mark what was trained on."""
    (across, columns), (down, lines) = lists.items()

    def scale(names: Sequence[str]) -> alt.Scale:
        # All names in every panel, so that the same ones stand side by side.
        return alt.Scale(domain=names, paddingInner=0.04, paddingOuter=0)

    angle = 0 if LETTER * max(map(len, columns)) <= WIDTHS[len(columns) < FEW] else -40
    base = (
        charts.data()
        .transform_calculate(
            label=f"datum.case_type === '{DEVIATION}' ? '{_label(DEVIATION)}' : datum.case_type", value=value
        )
        .transform_calculate(shade=f"isValid(datum.value) ? {shade} : null")
        .encode(
            x=alt.X(f"{across}:N", scale=scale(columns), title=None, axis=alt.Axis(labelAngle=angle)),
            y=alt.Y(f"{down}:N", scale=scale(lines), title=None),
            tooltip=tips,
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
    return charts.spec(alt.layer(cells, frames, texts), 28 * len(lines))


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a map of distances and one of each slope. The longer list goes down, where there is room for any number of names."""
    cases = [_label(case) for case in names_in(found, "case_type")]
    lists = {"variant": list(variants), "label": cases}
    if len(variants) > len(cases):
        lists = dict(reversed(lists.items()))
    columns = len(next(iter(lists.values())))
    width = 150 + WIDTHS[columns < FEW] * columns
    names = ("variant", "case_type", "trained_on")
    distance = _heat_map(
        "isValid(datum.failing) ? datum.failing : datum.avg_tvd",
        "1 - datum.value",
        lists,
        charts.tips(*names, numbers=with_ends("avg_tvd", "failing")),
    )
    # A slope beyond 1 is as far from control as one below it.
    slopes = {
        title: _heat_map(
            f"datum.{column}",
            "max(0, 1 - abs(datum.value - 1))",
            lists,
            charts.tips(*names, numbers=with_ends(column)),
        )
        for title, column in SLOPES.items()
    }
    return [View(distance, width, "mean TVD"), *(View(chart, width, title) for title, chart in slopes.items())]


def describe(found: Sequence[Row], view: str) -> str:
    """Name every number."""
    column = SLOPES.get(view, "avg_tvd")
    numbers = [f"{case}: {charts.each(own, 'variant', column)}" for case, own in grouped(found, "case_type").items()]
    return f"Heat map of {view}. {'; '.join(text for text in numbers if not text.endswith(': '))}."


FIGURE = Figure(
    name="matrix",
    title="Every variant on every case",
    caption="Mean total variation distance, slope of control, and slope within ranks (of the largest share alone) of every "
    "variant on every case. Brighter is better: a distance near 0, slopes near 1. Frames mark what an adapter was "
    "trained on. A small distance with a slope near 0 is always the same split; with a slope within ranks near 0 it is "
    "the same split by rank. Dashes are slopes of answers that hardly say the words, or of limits. Where "
    "base_model_deviation was measured, its column holds the share of samples that do not pass.",
    section="carries-over",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=MatrixRow,
    key="",
    wanted=lambda experiment: bool(experiment.adapters) and len(experiment.cases) > 1,
)
