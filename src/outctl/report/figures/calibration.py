"""Share asked for against share given."""

from collections.abc import Iterator, Sequence
from statistics import linear_regression

import altair as alt

from outctl.metrics.statistics import conditional_share
from outctl.report import charts
from outctl.report.figure import Figure, FigureRow, Measured, Row, View, grouped
from outctl.report.looks import INK, lined, variant_looks
from outctl.results.slopes import LEAST_MASS


class CalibrationRow(FigureRow):
    """A sample's point in `calibration`."""

    case_type: str
    """The case."""
    sample_id: str
    """The sample."""
    asked_share: float
    """Share that the first word was asked to have."""
    even_share: float
    """Share that it has where all have the same: 1/2 of two words, 1/3 of three, 1/4 of the pairs of successive words."""
    given_share: float
    """Its share of the words' mass in the answer; undefined where they have none."""
    avg_mass: float
    """Mean probability of answering with one of the words, over all samples of the variant and case."""


def rows(measured: Measured) -> Iterator[Row]:
    """Yield a row for each sample and variant."""
    for model, results in measured.results.items():
        for case in measured.experiment.cases:
            for variant in measured.experiment.variants_of(model):
                found = results["records"][variant][case]
                masses = [sum(record["probabilities"]) for record in found]
                for record, mass in zip(found, masses, strict=True):
                    yield {
                        "model": model,
                        "variant": variant,
                        "case_type": case,
                        "sample_id": record["sample_id"],
                        "asked_share": record["target"][0],
                        "even_share": 1.0 / len(record["target"]),
                        "given_share": conditional_share(record["probabilities"]) if mass > 0.0 else None,
                        "avg_mass": sum(masses) / len(masses),
                        "words": " / ".join(record["words"]),
                        "mass": mass,
                        "tvd": record["tvd"],
                    }


def views(found: Sequence[Row], variants: Sequence[str]) -> list[View]:
    """Draw a point for each sample, and each variant's least-squares line; faded where the words get next to no mass."""
    looks = variant_looks(variants)
    percents = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".0%", labelOverlap=True)
    x = alt.X("asked_share:Q", scale=charts.SHARE, title="asked share", axis=percents)
    y = alt.Y("given_share:Q", scale=charts.SHARE, title="given share", axis=percents)
    corners = charts.constants(asked_share=[0, 1], given_share=[0, 1])
    base = charts.data().transform_filter("isValid(datum.given_share)")
    even = charts.data().mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1).encode(y="mean(even_share):Q")
    layers = []
    for shown, fading in ((f"datum.avg_mass < {LEAST_MASS}", 0.3), (f"datum.avg_mass >= {LEAST_MASS}", 1.0)):
        own = base.transform_filter(shown)
        layers.append(
            own.mark_point(filled=True, size=26, opacity=0.55 * fading).encode(
                x=x,
                y=y,
                color=charts.colour(looks),
                shape=charts.shape(looks),
                tooltip=charts.tips("variant", "words", numbers=("asked_share", "given_share", "mass", "tvd")),
            )
        )
        layers.append(
            own.transform_regression("asked_share", "given_share", groupby=["variant"])
            .mark_line(strokeWidth=2.5, clip=True, opacity=fading)
            .encode(x=x, y=y, color=charts.colour(looks))
        )
    diagonal = corners.mark_line(color=INK, strokeWidth=1).encode(x=x, y=y)
    return [View(charts.spec(alt.layer(diagonal, even, *layers), 130), 165)]


def describe(found: Sequence[Row], view: str) -> str:
    """Name the fitted slope of each variant that gives the words some mass."""
    slopes = []
    for variant, own in grouped([row for row in found if row["avg_mass"] >= LEAST_MASS], "variant").items():
        points = [(row["asked_share"], row["given_share"]) for row in own if row["given_share"] is not None]
        # One share alone has no slope.
        if len({asked for asked, _ in points}) > 1:
            slopes.append(f"{variant} {charts.number(linear_regression(*zip(*points, strict=True)).slope)}")
    what = f"Given share against asked share of the first word in {found[0]['case_type']}."
    return f"{what} Fitted slopes: {', '.join(slopes)}; 1 is control." if slopes else what


FIGURE = Figure(
    name="calibration",
    title="Asked share against given share",
    caption="Share asked for the first word of each sample, against its share of the words' probability mass in the answer. "
    "Control lies on the diagonal, the dotted line is an even split, and thick lines are least-squares fits. Where a "
    "word is to stay below a limit, the asked share is that limit, and all below the diagonal keeps to it. Samples that"
    f" give the words no mass have no point; a variant is faded where they get less than {LEAST_MASS:.0%} of it on "
    "average, and their split is noise.",
    section="calibration",
    panels=("model", "case_type"),
    rows=rows,
    views=views,
    describe=describe,
    row=CalibrationRow,
    marks={"control": lined(), "even split": lined(2, 3)},
    counted="sample_id",
    compared=True,
)
