"""What the figures show; each takes the models' results and gives a figure of Matplotlib."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from outctl.config import TEMPERATURE
from outctl.specs import FiguresSettings

COLOURS = ("#767676", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Baseline first, then adapters: the colours of Okabe and Ito, which colour-blind readers can tell apart."""


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, sharey=True, layout="constrained"
    )
    return figure, axes.tolist()


def _coloured(names: Sequence[str], colours: Sequence[str] = COLOURS) -> Iterator[tuple[str, str]]:
    """Names with their colours, which begin anew where there are more names."""
    return zip(itertools.cycle(colours), names, strict=False)


def _by_variant_and_case(results: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a model's summary, those of the references too, whose names no variant can have."""
    return {(row["variant"], row["case_type"]): row for row in results["summary"]}


ACROSS = 5
"""Panels side by side; what is more goes below."""


def calibration(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Asked share of the first word against the share it was given, a point a sample; a panel a model and case."""
    columns = min(ACROSS, len(settings.cases))
    lines = -(-len(settings.cases) // columns)
    figure, axes = _panels(lines * len(settings.models), columns, 2.7, 2.6)
    for number, model in enumerate(settings.models):
        panels = [axis for row in axes[number * lines : (number + 1) * lines] for axis in row]
        for axis, case in zip(panels, settings.cases, strict=False):
            axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="control")
            axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":", label="always 50/50")
            for colour, variant in _coloured(settings.variants):
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
        for axis in panels[len(settings.cases) :]:
            axis.set_visible(False)
        for row in axes[number * lines : (number + 1) * lines]:
            row[0].set_ylabel("given share")
    _legend(figure, axes, settings.variants)
    return figure


def distances(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Mean distance of each case and variant with its interval, and the references as lines; a panel a model."""
    figure, axes = _panels(1, len(settings.models), 1.2 + 1.3 * len(settings.cases), 2.8)
    width = 0.8 / len(settings.variants)
    for axis, model in zip(axes[0], settings.models, strict=True):
        rows = _by_variant_and_case(results[model])
        for number, (colour, variant) in enumerate(_coloured(settings.variants)):
            for position, case in enumerate(settings.cases):
                row = rows[variant, case]
                centre = position + (number - (len(settings.variants) - 1) / 2) * width
                label = variant if position == 0 else ""
                axis.bar(centre, row["avg_tvd"], width * 0.9, color=colour, label=label)
                if row["avg_tvd_low"] is not None:
                    axis.vlines(centre, row["avg_tvd_low"], row["avg_tvd_high"], color="black", linewidth=1)
        for style, name in (("--", "uniform"), (":", "majority")):
            for position, case in enumerate(settings.cases):
                level = rows[name, case]["avg_tvd"]
                label = f"reference: {name}" if position == 0 else ""
                axis.hlines(
                    level, position - 0.45, position + 0.45, color="black", linewidth=0.9, linestyle=style, label=label
                )
        crowded = len(settings.cases) > ACROSS
        axis.set_xticks(
            range(len(settings.cases)),
            settings.cases,
            rotation=30 if crowded else 0,
            ha="right" if crowded else "center",
        )
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


def matrix(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Mean distance and slope of every variant on every case, as two heat maps a model; a frame marks what was trained on."""
    wide, high = 1.6 + 0.62 * len(settings.cases), 0.8 + 0.32 * len(settings.variants)
    figure, axes = _panels(len(settings.models), 2, wide, high + 1.0)
    for line, model in zip(axes, settings.models, strict=True):
        rows = _by_variant_and_case(results[model])
        # Distances run from good to bad, slopes from bad to good: bright is good in both.
        for axis, metric, colours, label in zip(
            line, ("avg_tvd", "control_slope"), ("cividis_r", "cividis"), ("mean TVD", "slope of control"), strict=True
        ):
            values = np.array(
                [
                    [np.nan if (cell := rows[variant, case][metric]) is None else cell for case in settings.cases]
                    for variant in settings.variants
                ]
            )
            # A slope beyond 1 is as far from control as one below it.
            shade = values if metric == "avg_tvd" else 1.0 - np.abs(values - 1.0)
            axis.imshow(shade, cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
            for (row, column), value in np.ndenumerate(values):
                light = (shade[row, column] if metric == "avg_tvd" else 1.0 - shade[row, column]) > 0.5
                text = "-" if np.isnan(value) else f"{value:.2f}"
                axis.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if light else "black")
                if settings.cases[column] in settings.trained_on.get(settings.variants[row], []):
                    axis.add_patch(
                        Rectangle(
                            (column - 0.47, row - 0.45), 0.94, 0.9, fill=False, linewidth=2.0, edgecolor="#d55e00"
                        )
                    )
            axis.set_xticks(range(len(settings.cases)), settings.cases, rotation=45, ha="right", fontsize=7)
            axis.set_yticks(range(len(settings.variants)), settings.variants, fontsize=7)
            axis.set_title(f"{model}: {label}", fontsize=8)
            axis.spines[:].set_visible(False)
    return figure


def learning_curves(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Distance and slope on samples kept back against samples seen, with intervals; a row of two panels a model."""
    figure, axes = plt.subplots(
        len(settings.models), 2, figsize=(7.2, 2.6 * len(settings.models)), squeeze=False, layout="constrained"
    )
    adapters = settings.adapters
    for line, model in zip(axes.tolist(), settings.models, strict=True):
        for axis, name, label in zip(line, ("tvd", "slope"), ("TVD", "slope of control"), strict=True):
            for colour, adapter in _coloured(adapters, COLOURS[1:]):
                curve = [row for row in results[model]["learning_curves"] if row["variant"] == adapter]
                defined = [row for row in curve if row[f"held_out_{name}"] is not None]
                seen = [row["samples"] for row in defined]
                axis.plot(
                    seen, [row[f"held_out_{name}"] for row in defined], color=colour, label=adapter, linewidth=1.3
                )
                with_ends = [row for row in defined if row[f"held_out_{name}_low"] is not None]
                axis.fill_between(
                    [row["samples"] for row in with_ends],
                    [row[f"held_out_{name}_low"] for row in with_ends],
                    [row[f"held_out_{name}_high"] for row in with_ends],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
            axis.set(title=model, xlabel="training samples seen", ylabel=f"{label}, samples kept back")
            if name == "tvd":
                axis.set_ylim(0.0, 1.02)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def sweeps(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Distance and slope of each variation of a recipe on the first case it trains on; a row a sweep, all models in it."""
    figure, axes = plt.subplots(
        len(settings.sweeps), 2, figsize=(7.2, 2.6 * len(settings.sweeps)), squeeze=False, layout="constrained"
    )
    for line, (sweep, adapters) in zip(axes.tolist(), settings.ordered_sweeps().items(), strict=True):
        names = [", ".join(f"{key} {label}" for key, label in own.items()) for own in adapters.values()]
        for axis, metric, title in zip(
            line, ("avg_tvd", "control_slope"), ("mean TVD", "slope of control"), strict=True
        ):
            for number, (colour, model) in enumerate(_coloured(settings.models, COLOURS[1:])):
                rows = _by_variant_and_case(results[model])
                for position, adapter in enumerate(adapters):
                    row = rows[adapter, settings.trained_on[adapter][0]]
                    if row[metric] is None:
                        continue
                    place = position + 0.12 * number
                    label = model if position == 0 else ""
                    axis.plot(place, row[metric], "o", markersize=4, color=colour, label=label)
                    if row[f"{metric}_low"] is not None:
                        axis.vlines(place, row[f"{metric}_low"], row[f"{metric}_high"], color=colour, linewidth=1.2)
            axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
            axis.set(title=sweep, ylabel=title)
            if metric == "avg_tvd":
                axis.set_ylim(0.0, 1.02)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def retention(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Distance on the first case trained on against the divergence on neutral prompts, a point an adapter, with intervals."""
    figure, axes = _panels(1, len(settings.models), 3.6, 3.0)
    for axis, model in zip(axes[0], settings.models, strict=True):
        rows = _by_variant_and_case(results[model])
        changed = {row["variant"]: row for row in results[model]["retention"]["summary"]}
        for colour, adapter in _coloured(settings.adapters, COLOURS[1:]):
            across, up = changed[adapter], rows[adapter, settings.trained_on[adapter][0]]
            if across["kl"] is None:
                continue
            axis.plot(across["kl"], up["avg_tvd"], "o", markersize=5, color=colour, label=adapter)
            if across["kl_low"] is not None:
                axis.hlines(up["avg_tvd"], across["kl_low"], across["kl_high"], color=colour, linewidth=1.0)
            if up["avg_tvd_low"] is not None:
                axis.vlines(across["kl"], up["avg_tvd_low"], up["avg_tvd_high"], color=colour, linewidth=1.0)
        axis.set(title=model, xlabel="KL(baseline || adapter) on neutral prompts, nats")
    axes[0][0].set(ylabel="mean TVD, case trained on", ylim=(0.0, 1.02))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def deviation(results: dict[str, Any], settings: FiguresSettings) -> Figure:
    """Where each sample first deviates, by variant, with its window between 0 and 1; dots pass, crosses do not."""
    variants = [variant for variant in settings.variants if variant != TEMPERATURE]
    figure, axes = _panels(1, len(settings.models), 1.6 + 1.0 * len(variants), 3.0)
    for axis, model in zip(axes[0], settings.models, strict=True):
        axis.axhspan(0.0, 1.0, color="black", alpha=0.08, linewidth=0)
        records = results[model]["base_model_deviation"]["records"]
        for number, (colour, variant) in enumerate(_coloured(variants)):
            deviated = [record for record in records[variant] if record["position"] is not None]
            # Spread sideways in an order of their own, since many deviate at the same word.
            aside = [0.35 * ((position * 0.618) % 1.0 - 0.5) for position in range(len(deviated))]
            for passed, marker in ((True, "o"), (False, "x")):
                chosen = [place for place, record in enumerate(deviated) if record["passed"] == passed]
                axis.scatter(
                    [number + 2 * aside[place] for place in chosen],
                    [
                        (deviated[place]["position"] - deviated[place]["wait"]) / deviated[place]["window"]
                        for place in chosen
                    ],
                    s=14,
                    marker=marker,
                    color=colour,
                    linewidths=0.8,
                )
        axis.set_xticks(range(len(variants)), variants, rotation=30, ha="right")
        axis.set_title(model)
    axes[0][0].set_ylabel("first deviation (0 to 1: in the window)")
    return figure


PLOTS: dict[str, Callable[[dict[str, Any], FiguresSettings], Figure]] = {
    "calibration": calibration,
    "tvd": distances,
    "matrix": matrix,
    "learning_curves": learning_curves,
    "sweeps": sweeps,
    "retention": retention,
    "deviation": deviation,
}
"""The figures by their names."""
