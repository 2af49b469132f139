"""What trainings measure on the samples kept back."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View, columns_of, grouped, picked, with_ends
from outctl.report.looks import lined, variant_looks
from outctl.results.evaluation_rows import LearningRow

NUMBERS = {"mean TVD": "held_out_tvd", "slope of control": "held_out_slope"}


CurveRow = columns_of(
    LearningRow,
    "CurveRow",
    "A measurement while training in `learning_curves`.",
    ("samples", *with_ends("held_out_tvd", "held_out_slope")),
)


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each measurement of each adapter."""
    for results in measured.results.values():
        for row in results["learning_curves"]:
            yield picked(row, CurveRow.model_fields)


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a curve for each adapter: distance and slope."""
    looks = variant_looks(variants)
    x = alt.X("samples:Q", title="training samples seen", axis=alt.Axis(tickCount=4))

    def layers(title: str) -> list[alt.Chart]:
        scale = charts.TO_A_TICK
        return charts.curves(charts.data(), looks, x, NUMBERS[title], scale, f"{title}, kept back", "samples")

    distance, slope = NUMBERS
    return [
        View(charts.spec(alt.layer(*layers(distance)), 200), 260, distance),
        View(charts.spec(alt.layer(charts.control_line(), *layers(slope)), 200), 260, slope),
    ]


def describe(found: Sequence[Row], view: str) -> str:
    """Name the first and the last measurement of each adapter."""
    return f"Training curve, {view} of samples kept back: {charts.ends(grouped(found, 'variant'), NUMBERS[view])}."


FIGURE = Figure(
    name="learning_curves",
    title="Learning curves",
    caption="Mean total variation distance and slope of control on the samples that training kept back, against the training "
    "samples seen, with intervals. The dotted line is control.",
    section="training",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=CurveRow,
    marks={"control": lined(2, 3)},
    wanted=lambda experiment: bool(experiment.recipes),
)
