"""Variations of recipes."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View, names_in, picked
from outctl.report.figures.tvd import DistanceRow
from outctl.report.looks import PAPER, looks_of
from outctl.results.variants import Drawn

NUMBERS = {"mean TVD": "avg_tvd", "slope of control": "control_slope", "slope within ranks": "within_slope"}
BASE = " (base)"
"""Ends the name of the recipe that is varied."""


class SweepRow(DistanceRow):
    """A variation of a recipe in `sweeps`, on the first case that it trains on."""

    sweep: str
    """The sweep."""
    setting: str
    """What is varied, and how."""
    control_slope: float
    """Slope of control."""
    control_slope_low: float
    """Lower end of its interval."""
    control_slope_high: float
    """Upper end of its interval."""
    within_slope: float
    """Slope within ranks, of the largest share alone."""
    within_slope_low: float
    """Lower end of its interval."""
    within_slope_high: float
    """Upper end of its interval."""


def variations(experiment: Drawn, sweep: str) -> dict[str, str]:
    """Return what each adapter of a sweep varies, in words, the base first."""

    def words(labels: dict[str, str]) -> str:
        return ", ".join(f"{key} {label}" for key, label in labels.items())

    return {
        **{adapter: f"{words(labels)}{BASE}" for adapter, labels in experiment.bases[sweep].items()},
        **{adapter: words(labels) for adapter, labels in experiment.ordered_sweeps()[sweep].items()},
    }


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each sweep, variation and model."""
    experiment = measured.experiment
    summaries = {model: measured.summary(model) for model in measured.results}
    shared = [key for key in SweepRow.model_fields if key not in ("model", "sweep", "setting")]
    for sweep in experiment.ordered_sweeps():
        for adapter, variation in variations(experiment, sweep).items():
            for model, summary in summaries.items():
                row = summary[adapter, experiment.first_case(adapter, experiment.cases)]
                yield {"model": model, "sweep": sweep, "setting": variation, **picked(row, shared)}


def _chart(column: str, found: Sequence[Row]) -> dict[str, Any]:
    """Variations below each other, models side by side; the base is a hollow mark and a line."""
    looks = looks_of(names_in(found, "model"))
    colour, shape = charts.colour(looks, "model"), charts.shape(looks, "model")
    y = alt.Y("setting:N", sort=None, title=None, axis=alt.Axis(grid=True))
    x = alt.X(f"{column}:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    marked = charts.data().transform_calculate(
        base=f"substring(datum.setting, length(datum.setting) - {len(BASE)}) === '{BASE}'"
    )
    line = marked.transform_filter("datum.base").mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(x=x, color=colour)
    base = marked.encode(yOffset=alt.YOffset("model:N", sort=list(looks))) if len(looks) > 1 else marked
    tips = charts.tips("model", "variant", "case_type", numbers=(column, f"{column}_low", f"{column}_high"))
    points = base.encode(x=x, y=y, color=colour, shape=shape, tooltip=tips)
    chart = alt.layer(
        line,
        base.mark_rule(strokeWidth=2).encode(x=f"{column}_low:Q", x2=f"{column}_high:Q", y=y, color=colour),
        points.transform_filter("!datum.base").mark_point(filled=True, size=65, opacity=1),
        points.transform_filter("datum.base").mark_point(fill=PAPER, size=60, opacity=1, strokeWidth=2),
    )
    most = max(len({row["setting"] for row in found if row["sweep"] == sweep}) for sweep in names_in(found, "sweep"))
    return charts.spec(chart, most * max(26, 13 * len(looks)))


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw distance and slopes."""
    return [View(_chart(column, found), 300, title) for title, column in NUMBERS.items()]


def describe(found: Sequence[Row], view: str) -> str:
    """Name every number."""
    each = [f"{row['model']} with {row['setting']} {charts.number(row[NUMBERS[view]])}" for row in found]
    return f"Sweep {found[0]['sweep']} on {found[0]['case_type']}, {view}. {'; '.join(each)}."


FIGURE = Figure(
    name="sweeps",
    title="Sweeps",
    caption="Mean total variation distance, slope of control, and slope within ranks (of the largest share alone) of each "
    "variation of a recipe, on the first case that it trains on, with intervals. Hollow marks and dashed lines are the "
    "recipe that is varied, the base.",
    section="sweeps",
    panels=("sweep",),
    rows=rows,
    views=views,
    describe=describe,
    row=SweepRow,
    wanted=lambda experiment: bool(experiment.sweeps),
    key="model",
    together=True,
)
