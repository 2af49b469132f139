"""What the figures look like; each takes the rows of its table and the width that it may have."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from outctl.config.names import BASELINE, DEVIATION, REFERENCES
from outctl.results.figure_tables import (
    BreakRow,
    CalibrationRow,
    CostRow,
    DistanceRow,
    LearningRow,
    MatrixRow,
    PositionRow,
    SweepRow,
)
from outctl.results.panels import UNTRAINED, dots, draw_curve, drawn_as, legend, names_in, panels_in, size


def calibration(rows: Sequence[CalibrationRow], width: float) -> Figure:
    """Asked share of the first word against the share it was given, a point a sample; a panel a model and case."""
    places = list(dict.fromkeys((row.model, row.case_type) for row in rows))
    drawn = drawn_as(names_in(rows, "variant"))
    models = names_in(rows, "model")
    longest = max(len(name) for place in places for name in place[len(models) == 1 :])
    figure, panels, columns = panels_in(
        len(places), width, (max(11, 0.65 * longest), 22), lambda wide: wide + size(2), sharex=True, sharey=True
    )
    for number, (axis, (model, case)) in enumerate(zip(panels, places, strict=True)):
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        own = [row for row in rows if (row.model, row.case_type) == (model, case)]
        for even in sorted({row.even_share for row in own}):
            axis.axhline(even, color="black", linewidth=0.8, linestyle=":")
        for variant, (colour, marker) in drawn.items():
            points = [row for row in own if row.variant == variant]
            axis.scatter(
                [row.asked_share for row in points],
                [row.given_share for row in points],
                s=7,
                color=colour,
                marker=marker,
                alpha=0.7,
                linewidths=0,
            )
        title = f"{case}\n" if len(models) == 1 else f"{model}\n{case}\n"
        axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), title=f"{title}n = {len(names_in(own, 'sample_id'))}")
        axis.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axis.set_box_aspect(1)
        if number % columns == 0:
            axis.set_ylabel("given share")
        if number + columns >= len(panels):
            axis.set_xlabel("asked share")
    lines = [
        Line2D([], [], color="black", linewidth=0.8, label="control"),
        Line2D([], [], color="black", linewidth=0.8, linestyle=":", label="always even"),
    ]
    legend(figure, [*dots(drawn), *lines])
    return figure


REFERENCE_LINES: dict[str, Literal["-", ":"]] = dict(zip(REFERENCES, ("-", ":"), strict=True))


def distances(rows: Sequence[DistanceRow], width: float) -> Figure:
    """Mean distance of each case and variant with its interval, and the references as lines; a panel a model."""
    models, cases = names_in(rows, "model"), names_in(rows, "case_type")
    drawn = drawn_as([name for name in names_in(rows, "variant") if name not in REFERENCES])
    high = size(len(cases) * (1.3 + 0.7 * len(drawn)) + 5)
    figure, panels, _ = panels_in(len(models), width, (27, 65), lambda _: high, most=3, sharex=True, sharey=True)
    for axis, model in zip(panels, models, strict=True):
        own = [row for row in rows if row.model == model]
        for row in own:
            line = cases.index(row.case_type)
            if row.variant in REFERENCE_LINES:
                style = REFERENCE_LINES[row.variant]
                ends = line - 0.42, line + 0.42
                axis.vlines(row.avg_tvd, *ends, color="black", linewidth=0.9, linestyle=style, zorder=1)
                continue
            colour, marker = drawn[row.variant]
            place = line + 0.7 * ((list(drawn).index(row.variant) + 0.5) / len(drawn) - 0.5)
            axis.hlines(place, row.avg_tvd_low, row.avg_tvd_high, color=colour, linewidth=1.2)
            axis.plot(row.avg_tvd, place, marker, markersize=3.5, color=colour, clip_on=False)
        for line in range(len(cases) - 1):
            axis.axhline(line + 0.5, color="0.9", linewidth=0.6)
        counts = {row.case_type: row.num_trials for row in own}
        axis.set_yticks(range(len(cases)), [f"{case} (n = {counts[case]})" for case in cases])
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", labelbottom=True)
        axis.set(xlim=(0, 1.02), ylim=(len(cases) - 0.5, -0.5), title=model, xlabel="mean TVD (0 is perfect)")
    lines = [
        Line2D([], [], color="black", linewidth=0.9, linestyle=style, label=f"reference: {name}")
        for name, style in REFERENCE_LINES.items()
    ]
    legend(figure, [*dots(drawn), *lines])
    return figure


def _heat_map(axis: Axes, rows: Sequence[MatrixRow], metric: str, colours: str) -> None:
    """One metric of one model, a row a variant and a column a case."""
    if metric != "avg_tvd":
        rows = [row for row in rows if row.case_type != DEVIATION]
    variants, cases = names_in(rows, "variant"), names_in(rows, "case_type")
    values = np.full((len(variants), len(cases)), np.nan)
    for row in rows:
        place = variants.index(row.variant), cases.index(row.case_type)
        values[place] = row.failing if row.case_type == DEVIATION else getattr(row, metric)
        if row.trained_on:
            corner = (place[1] - 0.46, place[0] - 0.44)
            axis.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, linewidth=1.5, edgecolor="#d55e00"))
    # A slope beyond 1 is as far from control as one below it.
    shade = values if metric == "avg_tvd" else 1.0 - np.abs(values - 1.0)
    axis.imshow(shade, cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        dark = (shade[line, column] if metric == "avg_tvd" else 1.0 - shade[line, column]) > 0.5
        # The sign of what rounds to nothing says nothing.
        text = "-" if np.isnan(value) else f"{value:z.2f}"
        size = 0.8 * mpl.rcParams["font.size"]
        axis.text(column, line, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    labels = [f"{DEVIATION}: failing" if case == DEVIATION else case for case in cases]
    axis.set_xticks(range(len(cases)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(variants)), variants)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def matrix(rows: Sequence[MatrixRow], width: float) -> Figure:
    """Mean distance and slope of every variant on every case, two heat maps a model; a frame marks what was trained on.

    Beside the distances stands the share of samples that do not pass `base_model_deviation`, where it was measured.
    """
    models, variants, cases = (names_in(rows, key) for key in ("model", "variant", "case_type"))
    labels = 0.5 * max(map(len, variants)) + 1
    # Numbers with two decimals and a sign need their room, or the two maps stand below each other.
    needed = 2 * labels + 2 * 2.4 * len(cases)
    across = 2 if width >= size(needed) else 1
    high = size(2.2 * len(variants) + 0.4 * max(map(len, cases)) + 4.5)
    figure, panels, _ = panels_in(2 * len(models), width, (width / size(1) / across,) * 2, lambda _: high, most=across)
    # Distances run from good to bad, slopes from bad to good: bright is good in both.
    kinds = (("avg_tvd", "cividis_r", "mean TVD"), ("control_slope", "cividis", "slope of control"))
    for axis, (model, (metric, colours, label)) in zip(panels, itertools.product(models, kinds), strict=True):
        _heat_map(axis, [row for row in rows if row.model == model], metric, colours)
        axis.set_title(f"{model}\n{label}")
    return figure


def learning_curves(rows: Sequence[LearningRow], width: float) -> Figure:
    """Distance and slope on samples kept back against samples seen, with intervals; two panels a model."""
    models, drawn = names_in(rows, "model"), drawn_as(names_in(rows, "variant"))
    figure, panels, _ = panels_in(2 * len(models), width, (22, 33), lambda wide: 0.62 * wide + size(3), most=2)
    kinds = (("held_out_tvd", "mean TVD"), ("held_out_slope", "slope of control"))
    for axis, (model, (metric, label)) in zip(panels, itertools.product(models, kinds), strict=True):
        for adapter, (colour, marker) in drawn.items():
            curve = [row for row in rows if (row.model, row.variant) == (model, adapter)]
            draw_curve(axis, [row.samples for row in curve], curve, metric, colour, marker)
        axis.set(title=model, xlabel="training samples seen", ylabel=f"{label} (kept back)")
        axis.set_xlim(left=0)
        if metric == "held_out_tvd":
            axis.set_ylim(0.0, 1.02)
        else:
            axis.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    legend(figure, list(dots(drawn)))
    return figure


def sweeps(rows: Sequence[SweepRow], width: float) -> Figure:
    """Distance and slope of each variation of a recipe on the first case it trains on; a row a sweep, all models in it."""
    names, drawn = names_in(rows, "sweep"), drawn_as(names_in(rows, "model"))
    high = size(17 + 0.35 * max(len(row.setting) for row in rows))
    figure, panels, _ = panels_in(2 * len(names), width, (22, 33), lambda _: high, most=2)
    kinds = (("avg_tvd", "mean TVD"), ("control_slope", "slope of control"))
    for axis, (sweep, (metric, label)) in zip(panels, itertools.product(names, kinds), strict=True):
        own = [row for row in rows if row.sweep == sweep]
        settings = names_in(own, "setting")
        for row in own:
            colour, marker = drawn[row.model]
            aside = 0.5 * ((list(drawn).index(row.model) + 0.5) / len(drawn) - 0.5)
            place, value = settings.index(row.setting) + aside, getattr(row, metric)
            axis.plot(place, value, marker, markersize=3.5, color=colour)
            axis.vlines(
                place, getattr(row, f"{metric}_low"), getattr(row, f"{metric}_high"), color=colour, linewidth=1.2
            )
        axis.set_xticks(range(len(settings)), settings, rotation=30, ha="right", rotation_mode="anchor")
        counts = sorted({row.num_trials for row in own})
        axis.set(title=f"{sweep}: {own[0].case_type} (n = {', '.join(map(str, counts))})", ylabel=label)
        axis.set_xlim(-0.5, len(settings) - 0.5)
        if metric == "avg_tvd":
            axis.set_ylim(0.0, 1.02)
        else:
            axis.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    legend(figure, list(dots(drawn)))
    return figure


def retention(rows: Sequence[CostRow], width: float) -> Figure:
    """Distance on the first case trained on against the divergence on neutral prompts, a point an adapter, with intervals."""
    models, drawn = names_in(rows, "model"), drawn_as(names_in(rows, "variant"))
    figure, panels, _ = panels_in(
        len(models), width, (22, 33), lambda wide: 0.7 * wide + size(2), most=3, sharex=True, sharey=True
    )
    for axis, model in zip(panels, models, strict=True):
        own = [row for row in rows if row.model == model]
        for row in own:
            colour, marker = drawn[row.variant]
            axis.plot(row.kl, row.avg_tvd, marker, markersize=4, color=colour)
            axis.hlines(row.avg_tvd, row.kl_low, row.kl_high, color=colour, linewidth=1.0)
            axis.vlines(row.kl, row.avg_tvd_low, row.avg_tvd_high, color=colour, linewidth=1.0)
        axis.set(title=model, xlabel="KL on neutral prompts (nats a token)")
        axis.tick_params(labelbottom=True)
    # Behind all panels, since they share their axes, and an end that is set keeps the other where it is.
    panels[0].set_xlim(left=0.0)
    panels[0].set_ylim(bottom=0.0)
    panels[0].set_ylabel("mean TVD, case trained on")
    legend(figure, list(dots(drawn)))
    return figure


def retention_positions(rows: Sequence[PositionRow], width: float) -> Figure:
    """Divergence from the baseline at each position of answers and texts, and the texts' perplexity, with intervals.

    Three panels a model.
    """
    models, drawn = names_in(rows, "model"), drawn_as(names_in(rows, "variant"))
    figure, panels, _ = panels_in(3 * len(models), width, (20, 33), lambda wide: 0.62 * wide + size(3), most=3)
    kinds = (
        ("prompts", "token of the answer", "KL from baseline (nats)", "kl"),
        ("texts", "token of the text", "KL from baseline (nats)", "kl"),
        ("texts", "token of the text", "perplexity", "perplexity_adapter"),
    )
    for axis, (model, (source, label, measure, column)) in zip(panels, itertools.product(models, kinds), strict=True):
        curves = {
            adapter: [row for row in rows if (row.model, row.variant, row.source) == (model, adapter, source)]
            for adapter in drawn
        }
        for adapter, curve in curves.items():
            draw_curve(axis, [_middle(row) for row in curve], curve, column, *drawn[adapter])
        axis.set(title=model, xlabel=label, ylabel=measure)
        if column == "kl":
            axis.set_ylim(bottom=0.0)
        else:
            # The same beside each adapter.
            untrained = next(iter(curves.values()))
            places = [_middle(row) for row in untrained]
            draw_curve(axis, places, untrained, "perplexity_baseline", *UNTRAINED[BASELINE])
            axis.set_yscale("log")
        if source == "texts":
            # Ranges double in length, each drawn at its geometric mean.
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
        else:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, list(dots({BASELINE: UNTRAINED[BASELINE]} | drawn)))
    return figure


def _middle(row: PositionRow) -> float:
    return math.sqrt(row.first * row.last)


def deviation(rows: Sequence[BreakRow], width: float) -> Figure:
    """Where each sample first deviates, by variant, with its window between 0 and 1; dots pass, crosses do not."""
    models, drawn = names_in(rows, "model"), drawn_as(names_in(rows, "variant"))
    figure, panels, _ = panels_in(
        len(models),
        width,
        (10 + 6 * len(drawn), 15 + 8 * len(drawn)),
        lambda wide: 0.7 * wide + size(2),
        most=3,
        sharey=True,
    )
    for axis, model in zip(panels, models, strict=True):
        axis.axhspan(0.0, 1.0, color="0.9", linewidth=0)
        own = [row for row in rows if row.model == model]
        for number, (variant, (colour, _)) in enumerate(drawn.items()):
            found = [row for row in own if row.variant == variant and not math.isnan(row.deviation)]
            # Spread sideways in an order of their own, since many deviate at the same word.
            aside = [number + 0.7 * ((place * 0.618) % 1.0 - 0.5) for place in range(len(found))]
            for passed, marker in ((True, "o"), (False, "x")):
                chosen = [place for place, row in enumerate(found) if row.passed == passed]
                heights = [found[place].deviation for place in chosen]
                axis.scatter(
                    [aside[place] for place in chosen], heights, s=12, marker=marker, color=colour, linewidths=0.8
                )
        slanted = len(drawn) > 3
        axis.set_xticks(range(len(drawn)), list(drawn), rotation=30 * slanted, ha="right" if slanted else "center")
        axis.set(xlim=(-0.5, len(drawn) - 0.5), title=f"{model}\nn = {len(names_in(own, 'sample_id'))}")
    panels[0].set_ylabel("first deviation, in windows")
    ends = [("o", "passes"), ("x", "does not pass")]
    handles = [Line2D([], [], color="black", marker=m, linestyle="", markersize=4, label=label) for m, label in ends]
    legend(figure, [*handles, Rectangle((0, 0), 1, 1, color="0.9", label="window")])
    return figure


PLOTS: dict[str, Callable[[Sequence[Any], float], Figure]] = {
    "calibration": calibration,
    "tvd": distances,
    "matrix": matrix,
    "learning_curves": learning_curves,
    "sweeps": sweeps,
    "retention": retention,
    "retention_positions": retention_positions,
    "deviation": deviation,
}
"""The figures by their names."""
