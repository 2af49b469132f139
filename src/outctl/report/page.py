"""The page: everything that the report shows, in one HTML file that works offline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from outctl.config.names import BASELINE
from outctl.report.blocks import block, rounded
from outctl.report.charts import number
from outctl.report.conclusion import NEAR_CONTROL, Tables, conclude, decimals
from outctl.report.examples import examples
from outctl.report.figure import Figure, Measured, Results, Row, View, grouped
from outctl.report.looks import CONFIG, Look, css_variables, variant_looks
from outctl.report.registry import FIGURES
from outctl.report.samples import answers, questions
from outctl.report.steps import Step, commits, machines, settings_of, stages, versions
from outctl.results.variants import Drawn
from outctl.tasks.samples import Sample

SCRIPTS = ("blocks.js", "figures.js", "browser.js", "page.js")
"""The page's own scripts, in the order in which they run."""
ALL = ""
"""In place of a model: what is shown of all models at once."""
LABEL = 170
"""How wide a label may be, in pixels, before it is cut."""


@dataclass(frozen=True)
class Shown:
    """A figure of the page.

    Attributes:
        figure: its definition.
        views: its charts.
        looks: what its legend names.
        blocks: for each model, or for all, its rows and what each of its panels says of itself.
    """

    figure: Figure
    views: Sequence[View]
    looks: Mapping[str, Look]
    blocks: Mapping[str, dict[str, Any]]

    @property
    def width(self) -> int:
        """The least width of a panel in pixels."""
        return max(view.width for view in self.views)

    @property
    def specification(self) -> dict[str, Any]:
        """What the page's scripts draw it from, beside its rows."""
        return {
            "views": [{"title": view.title, "chart": view.chart, "where": view.where} for view in self.views],
            "panels": self.figure.panels,
            "key": self.figure.key,
            "legend": [_entry(name, look, False) for name, look in self.looks.items()]
            + [_entry(name, look, True) for name, look in self.figure.marks.items()],
            "compared": self.figure.compared,
            "together": self.figure.together,
        }


def shown_figures(measured: Measured) -> dict[str, Shown]:
    """Return the figures that have rows, by name.

    Args:
        measured: the results of all models, and the logs of their trainings.
    """
    variants = measured.experiment.variants
    swept = {adapter for sweep in measured.experiment.ordered_sweeps().values() for adapter in sweep}
    shown = {}
    for figure in FIGURES.values():
        rows = [row for row in figure.rows(measured) if not (figure.without_sweeps and row["variant"] in swept)]
        if not rows:
            continue
        views = figure.views(rows, variants)
        blocks = {}
        for of, own in {ALL: rows}.items() if figure.together else grouped(rows, "model").items():
            panels = {
                panel.key: {"text": figure.describe(panel.rows, panel.view.title), "samples": panel.samples}
                for panel in figure.arranged(own, views)
            }
            blocks[of] = {"rows": [_short(row) for row in own], "panels": panels}
        shown[figure.name] = Shown(figure, views, figure.looks(rows, variants), blocks)
    return shown


def _entry(name: str, look: Look, always: bool) -> dict[str, Any]:
    """An entry of a legend, which stands there if a row is called so, or always."""
    return {"name": name, "always": always, **look._asdict()}


def _short(row: Row) -> Row:
    return {key: rounded(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def render(
    combined: Mapping[str, Any],
    results: Mapping[str, Results],
    samples: Mapping[str, Sequence[Sample]],
    logs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    steps: Sequence[Step],
    experiment: Drawn,
    assets: Mapping[str, str],
) -> str:
    """Return the page as text.

    Args:
        combined: what `aggregate` wrote.
        results: what `aggregate-model` wrote, by model.
        samples: the questions by case.
        logs: the lines of `training.jsonl`, by model and adapter.
        steps: all jobs.
        experiment: which models, variants and cases there are.
        assets: template, style and scripts of the page, by the names of their files.
    """
    figures = shown_figures(Measured(results, experiment, logs))
    confidence = combined["provenance"]["settings"]["statistics"]["confidence"]
    seed = combined["provenance"]["settings"]["seed"]
    asked = [
        name
        for name in experiment.adapters
        if name in experiment.elsewhere or combined["recipes"][name]["targets"] == "asked"
    ]
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(assets),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals |= {"number": number, "decimals": decimals}
    return environment.get_template("report.html.j2").render(
        conclusion=conclude(Tables(combined["summaries"], experiment, asked, experiment.cases, confidence)),
        near_control=NEAR_CONTROL,
        controls=[name for name in experiment.adapters if name not in asked],
        level=f"{100 * confidence:g} %",
        settings=experiment,
        sections=grouped([{"section": shown.figure.section, "shown": shown} for shown in figures.values()], "section"),
        blocks=_blocks(figures, results, samples),
        page=_script_json(_page(figures, experiment)),
        step_rows=_script_json([step.row for step in steps]),
        comparisons=combined["comparisons"],
        seeds=combined["seeds"],
        retention=combined.get("retention", []),
        deviation=combined.get("base_model_deviation", []),
        agreement=combined.get("agreement", []),
        temperatures=combined["temperatures"],
        stages=stages(steps),
        versions=versions(steps),
        machines=machines(steps),
        commits=commits(steps),
        settings_of=settings_of,
        sources=_sources(steps),
        examples=examples(samples, steps),
        seed=seed,
        library=vega(),
        style=f"{css_variables()}\n{assets['report.css']}",
        scripts=[assets[name] for name in SCRIPTS],
    )


@cache
def vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which comes with the package `vl_convert`."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _blocks(
    figures: Mapping[str, Shown], results: Mapping[str, Results], samples: Mapping[str, Sequence[Sample]]
) -> dict[str, str]:
    """The page's data: the rows of the figures and the answers by model, and the questions."""
    blocks = {"questions": block(questions(samples))}
    for of in (ALL, *results):
        own = {name: shown.blocks[of] for name, shown in figures.items() if of in shown.blocks}
        blocks[f"figures:{of}"] = block(own)
    return blocks | {f"answers:{model}": block(answers(own["records"])) for model, own in results.items()}


def _page(figures: Mapping[str, Shown], experiment: Drawn) -> dict[str, Any]:
    """What the page's scripts know from the start."""
    others = [variant for variant in experiment.variants if variant != BASELINE]
    return {
        "models": experiment.models,
        "cases": experiment.cases,
        "baseline": BASELINE,
        "others": others,
        # What training did, rather than what a temperature does.
        "shown": next(iter([*experiment.adapters, *others]), None),
        "colours": {name: look.colour for name, look in variant_looks(experiment.variants).items()},
        "theme": CONFIG | {"axisY": {"labelLimit": LABEL}},
        "figures": {name: shown.specification for name, shown in figures.items()},
    }


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element, whatever its texts hold."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _sources(steps: Sequence[Step]) -> list[tuple[str, str, str]]:
    """Name, source and precision of each model; the precision is known of those that something was asked of."""
    precisions = {step.provenance["spec"]["settings"].get("model"): step.provenance.get("precision") for step in steps}
    return [
        (step.subject, _source(step.provenance["spec"]["settings"]["source"]), precisions.get(step.subject) or "–")
        for step in steps
        if step.stage in ("fetch-model", "fetch-adapter")
    ]


def _source(source: Mapping[str, str]) -> str:
    match source["kind"]:
        case "hub":
            return f"{source['repo']} at revision {source['revision']}"
        case "wheel":
            return f"{source['file']} of {source['package']} {source['version']}, sha256 {source['file_sha256']}"
    return f"directory {Path(source['path']).name}"
