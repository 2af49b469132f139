"""The figures of the report: what each shows, of which rows, and in words for those who cannot see it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from outctl.config.names import BASELINE, DEVIATION, TEMPERATURE
from outctl.pipeline.specs import Compared, Drawn
from outctl.report import charts, rows
from outctl.report.answer import decimals
from outctl.report.charts import Look
from outctl.report.rows import Results, Row

ALL = ""
"""In place of a model: a figure of all models."""


@dataclass(frozen=True)
class Legend:
    """What a figure's legend names.

    Attributes:
        looks: the look of each name.
        key: the key of the rows that holds the names, of which those without a row are left out; empty where all stand there.
    """

    looks: Mapping[str, Look]
    key: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure, which may have panels of one chart.

    Attributes:
        name: its name, that of its file of numbers too.
        title, caption: what stands above and below it.
        chart: the Vega-Lite specification of a panel.
        panel: the key of the rows that tells panels apart; empty for a single chart.
        width: the least width of a panel in pixels.
        legend: what its legend names.
        compared: whether it shows the baseline and one other variant, which the reader chooses.
        rows: the rows of each model, or those of `ALL`.
        alts: of the same, a description of each panel.
    """

    name: str
    title: str
    caption: str
    chart: Mapping[str, Any]
    panel: str
    width: int
    legend: Legend
    compared: bool = False
    rows: dict[str, list[Row]] = field(default_factory=dict)
    alts: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, of: str, found: Iterable[Row], describe: Callable[[Sequence[Row]], str]) -> None:
        """Add the rows of a model, which are sorted by panel, and describe each panel."""
        self.rows[of] = list(found)
        panels = groupby(self.rows[of], key=itemgetter(self.panel)) if self.panel else [("", self.rows[of])]
        self.alts[of] = {str(name): describe(list(own)) for name, own in panels}


def number(value: float | None) -> str:
    """A number for a description."""
    return "undefined" if value is None else decimals(value, 2)


def _each(found: Sequence[Row], label: str, value: str) -> str:
    return ", ".join(f"{row[label]} {number(row[value])}" for row in found)


def headline(results: Mapping[str, Results], settings: Compared, cases: Sequence[str]) -> Figure:
    """Baseline against adapters, a panel a model."""
    shown = rows.unswept(settings)
    looks = charts.variant_looks(settings.variants, shown)
    figure = Figure(
        "baseline-against-adapter",
        "Baseline against adapter",
        "Mean total variation distance from the shares asked for, with its interval; 0 is perfect, 1 is worst. The upright "
        "tick is what the better fixed rule scores (always evenly, or always the word with the larger share).",
        charts.headline(looks, cases),
        "model",
        300,
        Legend(looks, "variant"),
    )
    found = [row for own in results.values() for row in rows.headline_rows(own, shown, cases)]

    def describe(own: Sequence[Row]) -> str:
        lines = [
            f"{case}: {_each(list(of), 'variant', 'avg_tvd')}" for case, of in groupby(own, key=itemgetter("case"))
        ]
        return f"Mean TVD of {own[0]['model']}, from 0 to 1. {'; '.join(lines)}."

    figure.add(ALL, found, describe)
    return figure


LIMITS = "Where a word is to stay below a limit, the limit is what is asked, and all below the diagonal keeps to it. "


def calibration(results: Mapping[str, Results], settings: Compared, cases: Sequence[str]) -> Figure:
    """Asked share against given share, a panel a case."""
    limited = any(row["num_binding"] is not None for own in results.values() for row in own["summary"])
    looks = charts.variant_looks(settings.variants)
    figure = Figure(
        "calibration",
        "Asked share against given share",
        "A point a sample: the share asked for its first word, and that word's share of what the words were given. Control "
        "lies on the diagonal, the dotted line is an even split, and the thick lines are the fitted slopes. "
        f"{LIMITS if limited else ''}Samples that give the words nothing have no share and no point.",
        charts.calibration(looks),
        "case",
        190,
        Legend(looks, "variant"),
        compared=True,
    )
    for model, own in results.items():
        summary = rows.by_variant_and_case(own)

        def describe(found: Sequence[Row], summary: Mapping[tuple[str, str], Row] = summary) -> str:
            case = found[0]["case"]
            slopes = {name: summary[name, case]["control_slope"] for name in settings.variants}
            fitted = ", ".join(f"{name} {number(slope)}" for name, slope in slopes.items() if slope is not None)
            what = f"Given share against asked share of the first word in {case}."
            return f"{what} Fitted slopes: {fitted}; 1 is control." if fitted else what

        figure.add(model, rows.calibration_rows(own, settings.variants, cases), describe)
    return figure


def distances(results: Mapping[str, Results], settings: Compared, cases: Sequence[str]) -> Figure:
    """Distances of all samples in their two parts, a panel a case and variant."""
    figure = Figure(
        "distances",
        "What the distances are made of",
        "A bar a sample, nearest first. Its height is the TVD: probability that went to anything but the words, and what "
        "words got beyond their share. The dotted line is the tolerance.",
        charts.distances(),
        "panel",
        225,
        Legend(charts.PARTS),
        compared=True,
    )
    elsewhere, split = charts.PARTS

    def describe(own: Sequence[Row]) -> str:
        count = len(own)
        parts = ", ".join(f"{name} {sum(row[name] for row in own) / count:.2f}" for name in (elsewhere, split))
        return f"TVD of {count} samples of {own[0]['case']}, {own[0]['variant']}, in ascending order. Means: {parts}."

    for model, own in results.items():
        figure.add(model, rows.distance_rows(own, settings.variants, cases), describe)
    return figure


def matrix(results: Mapping[str, Results], settings: Compared, cases: Sequence[str]) -> Figure:
    """What carries over to what, a panel a metric."""
    broken_off = next(iter(results.values()))["base_model_deviation"] is not None
    lines = [*cases, *([DEVIATION] if broken_off else [])]
    columns = min(len(settings.variants), len(lines))
    failing = (
        f" For {DEVIATION} it is the share of samples that do not pass; a slope it has none." if broken_off else ""
    )
    figure = Figure(
        "matrix",
        "Every variant on every case",
        "Bright is good. A frame marks what was trained on. A small distance with a slope near 0 is a split that is always "
        f"the same, and no control.{failing}",
        charts.matrix(settings.variants, lines),
        "metric",
        150 + (80 if columns < charts.UPRIGHT else 45) * columns,
        Legend({}),
    )

    def describe(own: Sequence[Row]) -> str:
        # A limit has no slope.
        measured = [row for row in own if row["value"] is not None]
        each = [
            f"{case}: {_each(list(of), 'variant', 'value')}" for case, of in groupby(measured, key=itemgetter("case"))
        ]
        return f"Heat map of {own[0]['metric']}. {'; '.join(each)}."

    for model, own in results.items():
        figure.add(model, rows.matrix_rows(own, settings, cases), describe)
    return figure


def training(logs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], settings: Compared) -> Figure:
    """What the trainings logged, a panel a number; `logs` by model and adapter."""
    looks = charts.variant_looks(settings.variants)
    figure = Figure(
        "training",
        "Training",
        "The loss, and distance and slope on samples that were kept back from training, with their intervals.",
        charts.training(looks),
        "metric",
        260,
        Legend(looks, "variant"),
    )

    def describe(own: Sequence[Row]) -> str:
        lines = []
        for adapter, line in groupby(own, key=itemgetter("variant")):
            found = list(line)
            first, last = found[0], found[-1]
            lines.append(
                f"{adapter} from {number(first['value'])} after {first['samples']} samples to {number(last['value'])} after "
                f"{last['samples']}"
            )
        return f"Training curve, {own[0]['metric']}: {'; '.join(lines)}."

    for model, own in logs.items():
        figure.add(model, rows.training_rows(model, own), describe)
    return figure


def retention(results: Mapping[str, Results], settings: Compared) -> Figure:
    """What training changed elsewhere."""
    looks = charts.variant_looks(settings.variants)
    figure = Figure(
        "retention",
        "What training changed elsewhere",
        "Left is what leaves the model as it was, down is what learns the task: the divergence KL(baseline ‖ adapter) "
        "on neutral prompts, against its distance on the first case that it trained on.",
        charts.retention(looks),
        "model",
        330,
        Legend(looks, "variant"),
    )
    found = [row for own in results.values() for row in rows.retention_rows(own, settings)]

    def describe(own: Sequence[Row]) -> str:
        each = [f"{row['variant']} {number(row['kl'])} and {number(row['avg_tvd'])}" for row in own]
        return f"{own[0]['model']}: divergence on neutral prompts in nats and mean TVD. {'; '.join(each)}."

    figure.add(ALL, found, describe)
    return figure


def retention_positions(results: Mapping[str, Results], settings: Compared) -> Figure:
    """Where training changed the model: position by position, a panel a source."""
    looks = charts.variant_looks(settings.variants)
    figure = Figure(
        "retention-positions",
        "Where training changed something",
        "The divergence KL(baseline ‖ adapter) at each token of the baseline's answers to neutral prompts, and along held-out "
        "texts, with intervals. From the 17th token of a text on, a point stands for a range of tokens.",
        charts.retention_positions(looks),
        "panel",
        300,
        Legend(looks, "variant"),
    )

    def describe(own: Sequence[Row]) -> str:
        each = []
        for adapter, of in groupby(own, key=itemgetter("variant")):
            curve = list(of)
            each.append(
                f"{adapter} {number(curve[0]['kl'])} at the first and {number(curve[-1]['kl'])} at the last token"
            )
        return f"Divergence from the baseline in nats, {own[0]['panel']}: {'; '.join(each)}."

    for model, own in results.items():
        figure.add(model, rows.position_rows(own), describe)
    return figure


def deviation(results: Mapping[str, Results], settings: Compared) -> Figure:
    """Where answers break off."""
    variants = [variant for variant in settings.variants if variant != TEMPERATURE]
    looks = charts.variant_looks(settings.variants, variants)
    answers = max(len(own["base_model_deviation"]["records"][BASELINE]) for own in results.values())
    figure = Figure(
        "base-model-deviation",
        "Breaking off when told to",
        "base_model_deviation: a mark an answer, where it first departs from the text that it was to continue. It should be "
        "in the shaded window, from 0 to 1. Circles pass, crosses do not; answers that never depart have no mark.",
        charts.deviation(looks, answers),
        "",
        300,
        # Its axis names the variants, and shapes tell there whether an answer passes.
        Legend({}),
    )

    def describe(own: Sequence[Row]) -> str:
        lines = []
        for variant, of in groupby(own, key=itemgetter("variant")):
            found = list(of)
            inside = sum(row["relative"] is not None and 0 < row["relative"] < 1 for row in found)
            passed = sum(row["passed"] for row in found)
            lines.append(f"{variant}: {passed} of {len(found)} pass, {inside} first deviate inside the window")
        return f"Position of the first deviation. {'; '.join(lines)}."

    for model, own in results.items():
        figure.add(model, rows.deviation_rows(own, variants), describe)
    return figure


def sweeps(results: Mapping[str, Results], settings: Drawn) -> Figure:
    """Variations of recipes, a panel a sweep and metric."""
    looks = charts.looks_of(list(results))
    figure = Figure(
        "sweeps",
        "Sweeps",
        "Each variation of a recipe on the first case that it trains on, with its interval. Hollow marks and dashed lines are "
        "the recipe that is varied, the base.",
        charts.sweeps(looks, max(len(settings.variations(sweep)) for sweep in settings.sweeps)),
        "panel",
        300,
        Legend(looks, "model"),
    )
    found = sorted(
        (row for own in results.values() for row in rows.sweep_rows(own, settings)), key=itemgetter("sweep", "panel")
    )

    def describe(own: Sequence[Row]) -> str:
        each = [f"{row['model']} with {row['variation']} {number(row['value'])}" for row in own]
        return f"Sweep {own[0]['sweep']}, {own[0]['metric']}. {'; '.join(each)}."

    figure.add(ALL, found, describe)
    return figure


def all_figures(
    results: Mapping[str, Results],
    logs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    settings: Drawn,
    cases: Sequence[str],
) -> dict[str, Figure]:
    """The figures that the run has something for, by their names.

    Args:
        results: what `aggregate-model` wrote, by model.
        logs: the lines of every `training.jsonl`, by model and adapter.
        settings: which variants there are.
        cases: the cases.
    """
    figures = [headline(results, settings, cases), calibration(results, settings, cases)]
    figures += [distances(results, settings, cases), matrix(results, settings, cases)]
    first = next(iter(results.values()))
    if settings.adapters:
        figures.append(training(logs, settings))
    if settings.sweeps:
        figures.append(sweeps(results, settings))
    if first["retention"] is not None and settings.adapters:
        figures += [retention(results, settings), retention_positions(results, settings)]
    if first["base_model_deviation"] is not None:
        figures.append(deviation(results, settings))
    return {figure.name: figure for figure in figures}
