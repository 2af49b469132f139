"""Control against what training costs elsewhere."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View, picked, with_ends
from outctl.report.figures.tvd import DistanceRow
from outctl.report.looks import variant_looks


class CostRow(DistanceRow):
    """An adapter in `retention`, on the first case that it trains on."""

    kl: float
    """Mean KL(baseline || adapter) on neutral prompts, in nats a token."""
    kl_low: float
    """Lower end of its interval."""
    kl_high: float
    """Upper end of its interval."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each adapter."""
    for model, results in measured.results.items():
        if results["retention"] is None:
            continue
        summary, changed = measured.summary(model), {row["variant"]: row for row in results["retention"]["summary"]}
        experiment, own = measured.experiment, measured.experiment.variants_of(model)
        for adapter in (name for name in experiment.adapters if name in own):
            row = summary[adapter, experiment.first_case(adapter, experiment.cases)]
            numbers = picked(row, ("variant", "case_type", "num_trials", *with_ends("avg_tvd")))
            yield {"model": model, **numbers, **picked(changed[adapter], with_ends("kl"))}


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a point with its intervals for each adapter, on the same axes for all models."""
    looks = variant_looks(variants)

    def scale(name: str) -> alt.Scale:
        ends = [row[column] for row in found for column in with_ends(name) if row[column] is not None]
        return alt.Scale(domain=[min([0.0, *ends]), max([0.0, *ends]) or 1.0], nice=5)

    x = alt.X("kl:Q", title="KL on neutral prompts, nats a token", scale=scale("kl"), axis=alt.Axis(tickCount=5))
    y = alt.Y("avg_tvd:Q", title="mean TVD, case trained on", scale=scale("avg_tvd"), axis=alt.Axis(tickCount=5))
    base = charts.data().encode(color=charts.colour(looks))
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(x="kl_low:Q", x2="kl_high:Q", y=y),
        base.mark_rule(strokeWidth=1.5).encode(x=x, y="avg_tvd_low:Q", y2="avg_tvd_high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=x, y=y, shape=charts.shape(looks), tooltip=charts.tips("model", "variant", numbers=("kl", "avg_tvd"))
        ),
    )
    return [View(charts.spec(chart, 240), 330)]


def describe(found: Sequence[Row], view: str) -> str:
    """Name both numbers of each adapter."""
    each = [f"{row['variant']} {charts.number(row['kl'])} and {charts.number(row['avg_tvd'])}" for row in found]
    return f"{found[0]['model']}: divergence on neutral prompts in nats and mean TVD. {'; '.join(each)}."


FIGURE = Figure(
    name="retention",
    title="What training changed elsewhere",
    caption="Control against what it costs elsewhere: mean total variation distance on the first case that an adapter trained "
    "on, against the mean divergence KL(baseline ‖ adapter) on neutral prompts, with intervals. Further left keeps the model "
    "as it was, further down learns the task.",
    section="cost",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=CostRow,
    wanted=lambda experiment: bool(experiment.retention and experiment.adapters),
    together=True,
)
