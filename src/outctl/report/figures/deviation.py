"""Where answers break off."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.config.names import TEMPERATURE
from outctl.report import charts
from outctl.report.figure import Figure, FigureRow, Measured, Row, View, grouped, names_in
from outctl.report.looks import FAINT, INK, Look, variant_looks

CROSS = "M-0.7,-0.7L0.7,0.7M0.7,-0.7L-0.7,0.7"
MARKS = {
    "passes": Look(INK, "M6,2A4,4 0 1 1 5.99,2Z", line=True),
    "does not pass": Look(INK, "M2.5,2.5L9.5,9.5M9.5,2.5L2.5,9.5", line=True),
    "window": Look("var(--rule)", "M0,0H12V12H0Z"),
}


class BreakRow(FigureRow):
    """A sample's answer in `deviation`."""

    sample_id: str
    """The sample."""
    deviation: float
    """Where the first deviation falls: 0 is the last word before the window, 1 its last word; undefined where nothing
    deviates."""
    passed: bool
    """Whether the sample passes."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each sample and variant."""
    for model, results in measured.results.items():
        records = results["base_model_deviation"]["records"] if results["base_model_deviation"] else {}
        for variant in measured.experiment.variants_of(model):
            # A baseline at another temperature answers no text.
            for record in records[variant] if records and variant != TEMPERATURE else []:
                position = record["position"]
                yield {
                    "model": model,
                    "variant": variant,
                    "sample_id": record["sample_id"],
                    "deviation": None if position is None else (position - record["wait"]) / record["window"],
                    "passed": record["passed"],
                    "text": record["name"],
                    "wait": record["wait"],
                    "window": record["window"],
                    "position": position,
                    "deviating_word": record["deviating_word"],
                    "answer": record["answer"][:200],
                }


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a mark for each answer, a line of marks for each variant."""
    present = names_in(found, "variant")
    looks = {name: look for name, look in variant_looks(variants).items() if name in present}
    title = "first deviation, in window lengths"
    window = charts.constants(start=0, end=1).mark_rect(color=FAINT, opacity=0.25)
    # A gap between variants shows whose an answer is.
    gaps = alt.Scale(paddingInner=0.3, paddingOuter=0.15)
    marks = alt.Scale(domain=[True, False], range=["circle", CROSS])
    tips = charts.tips("text", "answer", "deviating_word", numbers=("position", "wait", "window"))
    answers = (
        charts.data()
        .mark_point(size=55, strokeWidth=1.6, opacity=1)
        .encode(
            x=alt.X("deviation:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
            y=alt.Y("variant:N", sort=list(looks), scale=gaps, title=None),
            yOffset=alt.YOffset("sample_id:N", sort=names_in(found, "sample_id")),
            color=charts.colour(looks),
            shape=alt.Shape("passed:N", scale=marks, legend=None),
            tooltip=tips,
        )
    )
    chart = alt.layer(window.encode(x=alt.X("start:Q", title=title), x2="end:Q"), answers)
    height = 20 + max(20, min(9 * len(names_in(found, "sample_id")), 64)) * len(looks)
    return [View(charts.spec(chart, height), 300)]


def describe(found: Sequence[Row], view: str) -> str:
    """Count for each variant what passes."""
    lines = []
    for variant, own in grouped(found, "variant").items():
        inside = sum(row["deviation"] is not None and 0 < row["deviation"] < 1 for row in own)
        passed = sum(row["passed"] for row in own)
        lines.append(f"{variant}: {passed} of {len(own)} pass, {inside} first deviate inside the window")
    return f"Position of the first deviation. {'; '.join(lines)}."


FIGURE = Figure(
    name="deviation",
    title="Breaking off when told to",
    caption="base_model_deviation: a mark for each of n answers, where it first departs from the text that it was to continue, "
    "in units of its window: 0 is the first word that may deviate, 1 the first that is too late. Circles pass, crosses do not; "
    "answers that never depart have no mark.",
    section="further",
    panels=("model",),
    rows=rows,
    views=views,
    describe=describe,
    row=BreakRow,
    wanted=lambda experiment: bool(experiment.base_model_deviation),
    key="",
    marks=MARKS,
    counted="sample_id",
)
