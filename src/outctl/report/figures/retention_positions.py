"""Where training changed something, position by position."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.config.names import BASELINE
from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View, columns_of, grouped, picked, with_ends
from outctl.report.figures import retention
from outctl.report.looks import UNTRAINED, variant_looks
from outctl.results.evaluation_rows import RetentionPositionRow

ANSWERS, TEXTS, PERPLEXITY = "answers to neutral prompts", "held-out texts", "perplexity of held-out texts"


PositionRow = columns_of(
    RetentionPositionRow,
    "PositionRow",
    "A point of a curve in `retention_positions`.",
    ("source", "first", "last", *with_ends("kl", "perplexity_baseline", "perplexity_adapter")),
)


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each source, adapter and range of positions."""
    for results in measured.results.values():
        for row in results["retention"]["positions"] if results["retention"] else []:
            yield picked(row, (*PositionRow.model_fields, "count"))


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a curve for each adapter, beside its baseline where there is one."""
    # Ranges double in length and are drawn at their geometric mean.
    base = charts.data().transform_calculate(position="sqrt(datum.first * datum.last)")
    scale = alt.Scale(type="log", base=2, nice=False)
    x = alt.X("position:Q", title="token", scale=scale, axis=alt.Axis(values=[2**k for k in range(11)], format="d"))
    logarithmic, untrained = alt.Scale(type="log", nice=False), {BASELINE: UNTRAINED[BASELINE]}
    looks, counts = untrained | variant_looks(variants), ("first", "last", "count")
    divergence = charts.curves(base, looks, x, "kl", charts.TO_A_TICK, "KL(baseline ‖ adapter), nats", *counts)
    # The baseline is the same beside each adapter.
    one = alt.FieldEqualPredicate(field="variant", equal=found[0]["variant"])
    baseline = base.transform_filter(one).transform_calculate(variant=f"'{BASELINE}'")
    before = charts.curves(baseline, looks, x, "perplexity_baseline", logarithmic, "perplexity", *counts)
    after = charts.curves(base, looks, x, "perplexity_adapter", logarithmic, "perplexity", *counts)

    def view(title: str, source: str, layers: Sequence[alt.Chart]) -> View:
        return View(charts.spec(alt.layer(*layers), 200), 240, title, {"source": source})

    shown = [view(ANSWERS, "prompts", divergence), view(TEXTS, "texts", divergence)]
    return [*shown, view(PERPLEXITY, "texts", [*before, *after])] if _has_perplexity(found) else shown


def _has_perplexity(found: Sequence[Row]) -> bool:
    return any(row["perplexity_baseline"] is not None for row in found)


def describe(found: Sequence[Row], view: str) -> str:
    """Name the first and the last number of each adapter."""
    column, what = (
        ("perplexity_adapter", "Perplexity with each adapter") if view == PERPLEXITY else ("kl", "Divergence in nats")
    )
    curves = {
        variant: [row for row in own if row[column] is not None] for variant, own in grouped(found, "variant").items()
    }
    each = [
        f"{adapter} {charts.number(own[0][column])} at the first and {charts.number(own[-1][column])} at the last token"
        for adapter, own in curves.items()
        if own
    ]
    return f"{what}, {view}: {'; '.join(each)}."


FIGURE = Figure(
    name="retention_positions",
    title="Where training changed something",
    caption="The mean divergence KL(baseline ‖ adapter) at each token of the baseline's answers to neutral prompts and along "
    "held-out texts, and the texts' perplexity with and without each adapter, with intervals. From the 17th token of a text "
    "on, a point stands for a range of tokens.",
    section="cost",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=PositionRow,
    marks={BASELINE: UNTRAINED[BASELINE]},
    wanted=retention.FIGURE.wanted,
)
