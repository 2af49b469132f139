"""Figures for a paper: what was asked against what was given, and distances with their intervals."""

import io
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from outctl.files import read_json, write_text
from outctl.layout import FIGURES, Layout, beside
from outctl.provenance import check_outputs, write_provenance
from outctl.specs import FiguresSettings, Spec

COLOURS = ("#767676", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Baseline first, then adapters: the colours of Okabe and Ito, which colour-blind readers can tell apart."""

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "outctl",
}


def draw_figures(spec: Spec, layout: Layout) -> None:
    """Draw all figures from the models' results.

    Args:
        spec: the specification of this job.
        layout: where the models' results lie and the figures go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(FiguresSettings)
    results = {}
    for model in settings.models:
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results[model] = read_json(file)
    with mpl.rc_context(STYLE):
        figures = {"calibration": calibration(results, settings), "tvd": distances(results, settings)}
        for name, figure in figures.items():
            text = io.StringIO()
            # A date would make equal figures differ.
            figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)
            write_text(layout.figure(name), text.getvalue())
    write_provenance(beside(layout.figure("figures")), spec, [layout.figure(n) for n in FIGURES])


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, sharey=True, layout="constrained"
    )
    return figure, axes.tolist()


def calibration(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Asked share of the first word against the share it was given, a point a sample; a row of panels a model."""
    figure, axes = _panels(len(settings.models), len(settings.cases), 2.7, 2.6)
    for row, model in zip(axes, settings.models, strict=True):
        for axis, case in zip(row, settings.cases, strict=True):
            axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="control")
            axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":", label="always 50/50")
            for colour, variant in zip(COLOURS * len(settings.variants), settings.variants, strict=False):
                points = [
                    (record["target"][0], record["probabilities"][0] / sum(record["probabilities"]))
                    for record in results[model]["records"][variant][case]
                    if sum(record["probabilities"]) > 0
                ]
                asked = [asked for asked, _ in points]
                given = [given for _, given in points]
                axis.scatter(asked, given, s=9, color=colour, alpha=0.7, linewidths=0, label=variant)
            axis.set(
                xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"{model}\n{case}", xlabel="asked share of first word"
            )
        row[0].set_ylabel("given share")
    _legend(figure, axes, settings.variants)
    return figure


def distances(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Mean distance of each case and variant with its interval, and the references as lines; a panel a model."""
    figure, axes = _panels(1, len(settings.models), 1.2 + 1.3 * len(settings.cases), 2.8)
    width = 0.8 / len(settings.variants)
    for axis, model in zip(axes[0], settings.models, strict=True):
        rows = {(row["model"], row["variant"], row["case_type"]): row for row in results[model]["summary"]}
        for number, (colour, variant) in enumerate(
            zip(COLOURS * len(settings.variants), settings.variants, strict=False)
        ):
            for position, case in enumerate(settings.cases):
                row = rows[model, variant, case]
                centre = position + (number - (len(settings.variants) - 1) / 2) * width
                label = variant if position == 0 else ""
                axis.bar(centre, row["avg_tvd"], width * 0.9, color=colour, label=label)
                if row["avg_tvd_low"] is not None:
                    axis.vlines(centre, row["avg_tvd_low"], row["avg_tvd_high"], color="black", linewidth=1)
        for style, name in (("--", "uniform"), (":", "majority")):
            for position, case in enumerate(settings.cases):
                level = rows["reference", name, case]["avg_tvd"]
                label = f"reference: {name}" if position == 0 else ""
                axis.hlines(
                    level, position - 0.45, position + 0.45, color="black", linewidth=0.9, linestyle=style, label=label
                )
        axis.set_xticks(range(len(settings.cases)), settings.cases)
        axis.set(ylim=(0, 1.02), title=model)
    axes[0][0].set_ylabel("mean TVD (0 is perfect)")
    _legend(figure, axes, settings.variants)
    return figure


def _legend(figure: Figure, axes: list[list[Axes]], variants: list[str]) -> None:
    """One legend for all panels, the variants before the lines."""
    handles, labels = axes[0][0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: (labels[number] not in variants, number))
    figure.legend(
        [handles[number] for number in order], [labels[number] for number in order], loc="outside lower center", ncols=4
    )
