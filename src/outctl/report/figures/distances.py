"""What the distances of samples consist of."""

from collections.abc import Iterator, Sequence

import altair as alt

from outctl.report import charts
from outctl.report.figure import Figure, Measured, Row, View
from outctl.report.looks import INK, Look, lined

PARTS = {"mass elsewhere": Look("var(--elsewhere)"), "wrong split": Look("var(--split)")}
"""The two parts of a distance."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each sample, nearest first, with the two parts of its distance.

    The mass elsewhere is 1 - m. The rest of the distance is what words get beyond their shares: over the words and
    *anything else*, as much is given too much as too little, and *anything else* is never asked for.
    """
    elsewhere, split = PARTS
    for model, results in measured.results.items():
        for case in measured.experiment.cases:
            for variant in measured.experiment.variants_of(model):
                found = sorted(results["records"][variant][case], key=lambda record: float(record["tvd"]))
                for rank, record in enumerate(found, 1):
                    # Sums of float32 may be beyond 1 by their last digits.
                    other = max(record["other_mass"], 0.0)
                    yield {
                        "model": model,
                        "variant": variant,
                        "case_type": case,
                        "rank": rank,
                        "sample_id": record["sample_id"],
                        "tvd": record["tvd"],
                        elsewhere: min(other, record["tvd"]),
                        split: max(record["tvd"] - other, 0.0),
                        "tolerance": record["tolerance"],
                    }


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a bar for each sample, stacked from its parts."""
    parts = list(PARTS)
    bars = (
        charts.data()
        .transform_fold([*parts], as_=["part", "size"])
        .transform_calculate(order=f"datum.part === '{parts[0]}' ? 0 : 1")
        .mark_bar()
        .encode(
            x=alt.X("rank:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0)),
            y=alt.Y("size:Q", stack="zero", scale=charts.SHARE, title="TVD", axis=alt.Axis(tickCount=3)),
            color=charts.colour(PARTS, "part"),
            order="order:Q",
            tooltip=charts.tips("sample_id", numbers=("tvd", *parts)),
        )
    )
    tolerance = charts.data().mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1).encode(y="mean(tolerance):Q")
    return [View(charts.spec(alt.layer(bars, tolerance), 110), 225)]


def describe(found: Sequence[Row], view: str) -> str:
    """Name the mean of each part."""
    parts = ", ".join(f"{name} {sum(row[name] for row in found) / len(found):.2f}" for name in PARTS)
    where = f"{found[0]['case_type']}, {found[0]['variant']}"
    return f"TVD of {len(found)} samples of {where}, in ascending order. Means: {parts}."


FIGURE = Figure(
    name="distances",
    title="What the distances are made of",
    caption="A bar for each sample, nearest first. Its height is the TVD: probability of anything but the words, and what words "
    "got beyond their share. The dotted line is the tolerance.",
    section="calibration",
    panels=("model", "case_type", "variant"),
    rows=rows,
    views=views,
    describe=describe,
    key="",
    marks=PARTS | {"tolerance": lined(2, 3)},
    compared=True,
)
