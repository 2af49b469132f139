"""Mean distance of each variant on each case, beside the references."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.config.names import REFERENCES
from outctl.report import charts
from outctl.report.figure import Figure, FigureRow, Measured, Row, View, grouped, names_in, picked
from outctl.report.looks import INK, lined, variant_looks

REFERENCE_LOOKS = dict(
    zip(REFERENCES, (lined(upright=True), lined(2, 2, upright=True), lined(6, 2, upright=True)), strict=True)
)


class DistanceRow(FigureRow):
    """A case's mean distance in `tvd`; `variant` may also be a reference."""

    case_type: str
    """The case."""
    num_trials: int
    """Number of samples."""
    avg_tvd: float
    """Mean total variation distance."""
    avg_tvd_low: float
    """Lower end of its interval."""
    avg_tvd_high: float
    """Upper end of its interval."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each model, case and variant, the references last."""
    for model in measured.results:
        summary = measured.summary(model)
        for case in measured.experiment.cases:
            for variant in (*measured.experiment.variants_of(model), *REFERENCES):
                # References are left out of cases in which they mean nothing.
                if (variant, case) in summary:
                    yield picked(summary[variant, case], DistanceRow.model_fields) | {"model": model}


def _shown(found: Sequence[Row], variants: Sequence[str]) -> list[str]:
    present = set(names_in(found, "variant"))
    return [name for name in variants if name in present]


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a line for each variant, so that none covers another with the same distance."""
    all_looks = variant_looks(variants)
    looks = {name: all_looks[name] for name in _shown(found, list(all_looks))}
    y = alt.Y("label:N", sort=None, title=None, axis=alt.Axis(grid=True))
    x = alt.X("avg_tvd:Q", scale=charts.SHARE, title="mean TVD; 0 is perfect", axis=alt.Axis(tickCount=5))
    base = charts.data().transform_calculate(label="datum.case_type + ' (n = ' + datum.num_trials + ')'")
    dashes = alt.Scale(
        domain=list(REFERENCE_LOOKS), range=[list(look.dash) or [1, 0] for look in REFERENCE_LOOKS.values()]
    )
    references = (
        base.transform_filter(alt.FieldOneOfPredicate(field="variant", oneOf=list(REFERENCE_LOOKS)))
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(
            x=x,
            y=alt.Y("label:N", sort=None, title=None, bandPosition=0.1),
            y2=alt.Y2("label:N", bandPosition=0.9),
            strokeDash=alt.StrokeDash("variant:N", scale=dashes, legend=None),
        )
    )
    own = base.transform_filter(alt.FieldOneOfPredicate(field="variant", oneOf=list(looks))).encode(
        y=y, yOffset=alt.YOffset("variant:N", sort=list(looks)), color=charts.colour(looks)
    )
    ends = own.mark_rule(strokeWidth=2).encode(x="avg_tvd_low:Q", x2="avg_tvd_high:Q")
    points = own.mark_point(filled=True, size=75, opacity=1).encode(
        x=x,
        shape=charts.shape(looks),
        tooltip=charts.tips("variant", "case_type", numbers=("avg_tvd", "avg_tvd_low", "avg_tvd_high")),
    )
    height = max(25, 10 * len(looks)) * len(names_in(found, "case_type"))
    return [View(charts.spec(alt.layer(references, ends, points), height), 300)]


def describe(found: Sequence[Row], view: str) -> str:
    """Name the distance of each variant on each case."""
    lines = [f"{case}: {charts.each(own, 'variant', 'avg_tvd')}" for case, own in grouped(found, "case_type").items()]
    return f"Mean TVD of {found[0]['model']}, from 0 to 1. {'; '.join(lines)}."


FIGURE = Figure(
    name="tvd",
    title="Baseline against adapter",
    caption="Mean total variation distance from the shares asked for over the n samples of each case, with its interval: 0 is "
    "perfect, 1 is worst. The upright lines are fixed rules, which ignore the numbers: an even split, all on the word with the "
    "largest share, or the best fixed shares by rank (ordinal).",
    section="answer",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=DistanceRow,
    marks={f"reference: {name}": look for name, look in REFERENCE_LOOKS.items()},
    together=True,
    without_sweeps=True,
)
