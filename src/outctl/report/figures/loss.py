"""The loss along each training."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View, grouped
from outctl.report.looks import variant_looks


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each logged step of each adapter."""
    for model, logs in measured.logs.items():
        for adapter, log in logs.items():
            for line in log:
                yield {"model": model, "variant": adapter, **{key: line[key] for key in ("step", "samples", "loss")}}


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a curve for each adapter."""
    x = alt.X("samples:Q", title="training samples seen", axis=alt.Axis(tickCount=4))
    base = charts.data().encode(
        x=x,
        y=alt.Y("loss:Q", title="loss", scale=charts.TO_A_TICK, axis=alt.Axis(tickCount=5)),
        color=charts.colour(variant_looks(variants)),
    )
    points = base.mark_point(filled=True, size=30, opacity=1).encode(
        shape=charts.shape(variant_looks(variants)), tooltip=charts.tips("variant", numbers=("samples", "loss"))
    )
    return [View(charts.spec(alt.layer(base.mark_line(strokeWidth=2), points), 200), 330)]


def describe(found: Sequence[Row], view: str) -> str:
    """Name the first and the last loss of each adapter."""
    return f"Training loss: {charts.ends(grouped(found, 'variant'), 'loss')}."


FIGURE = Figure(
    name="loss",
    title="Training loss",
    caption="Mean loss since the point before, against the training samples seen. Recipes may differ in their loss.",
    section="training",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
)
