"""The page: everything that the report shows, in one HTML file that asks the network for nothing."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from outctl.config.names import BASELINE
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream, read_provenance, write_provenance
from outctl.pipeline.specs import ReportSettings, Spec
from outctl.report.answer import NEAR_CONTROL, Tables, answer, decimals
from outctl.report.blocks import block
from outctl.report.charts import variant_looks
from outctl.report.figures import ALL, Figure, all_figures, number
from outctl.report.rows import Results
from outctl.report.samples import answers, questions
from outctl.report.steps import Step, commits, machines, read_step, settings_of, stages, versions
from outctl.storage.files import read_json, read_jsonl, write_text
from outctl.tasks.samples import Sample, read_samples

WHOLE = ("aggregate-model", "aggregate")
"""Stages whose outputs are checked whole; of the others the report reads provenance, questions and training logs."""
SCRIPTS = ("blocks.js", "figures.js", "browser.js", "page.js")
"""The page's own scripts, in the order in which they run."""


def write_report(spec: Spec, layout: Layout) -> None:
    """Write the report.

    Args:
        spec: the specification of this job.
        layout: where results and models lie and the report goes.

    Raises:
        OutctlError: a result is missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(ReportSettings)
    steps = []
    for name in spec.upstream:
        job = tuple(name.split("/"))
        check_upstream(spec, name, layout.provenance(*job), whole=job[0] in WHOLE)
        steps.append(read_step(layout, job, read_provenance(layout.provenance(*job))))
    results = {model: read_json(layout.model_results(model)) for model in settings.models}
    samples = {case: read_samples(layout.samples(case, "eval")) for case in settings.cases}
    logs = {
        model: {
            adapter: list(read_jsonl(layout.adapter(model, adapter) / "training.jsonl"))
            for adapter in settings.adapters
        }
        for model in settings.models
    }
    text = render(read_json(layout.combined()), results, samples, logs, steps, settings)
    write_text(layout.report(), text)
    write_provenance(beside(layout.report()), spec, [layout.report()])


def render(
    combined: Mapping[str, Any],
    results: Mapping[str, Results],
    samples: Mapping[str, Sequence[Sample]],
    logs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    steps: Sequence[Step],
    settings: ReportSettings,
) -> str:
    """The page as text.

    Args:
        combined: what `aggregate` wrote.
        results: what `aggregate-model` wrote, by model.
        samples: the questions by case.
        logs: the lines of `training.jsonl`, by model and adapter.
        steps: all jobs.
        settings: which models, variants and cases there are.
    """
    figures = all_figures(results, logs, settings, settings.cases)
    confidence = combined["provenance"]["settings"]["statistics"]["confidence"]
    seed = combined["provenance"]["settings"]["seed"]
    asked = [name for name in settings.adapters if combined["recipes"][name]["targets"] == "asked"]
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(settings.assets),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals |= {"number": number, "decimals": decimals}
    return environment.get_template("report.html.j2").render(
        answer=answer(Tables(combined["summaries"], settings, asked, settings.cases, confidence)),
        near_control=NEAR_CONTROL,
        controls=[name for name in settings.adapters if name not in asked],
        level=f"{100 * confidence:g} %",
        settings=settings,
        figures=figures,
        blocks=_blocks(figures, results, samples),
        page=_script_json(_page(figures, settings)),
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
        seed=seed,
        library=vega(),
        style=settings.assets["report.css"],
        scripts=[settings.assets[name] for name in SCRIPTS],
    )


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which comes with the package `vl_convert`."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _blocks(
    figures: Mapping[str, Figure], results: Mapping[str, Results], samples: Mapping[str, Sequence[Sample]]
) -> dict[str, str]:
    """The page's data: the rows of the figures and the answers by model, and the questions."""
    blocks = {"questions": block(questions(samples))}
    for of in (ALL, *results):
        own = {
            name: {"rows": figure.rows[of], "alts": figure.alts[of]}
            for name, figure in figures.items()
            if of in figure.rows
        }
        blocks[f"figures:{of}"] = block(own)
    return blocks | {f"answers:{model}": block(answers(own["records"])) for model, own in results.items()}


def _page(figures: Mapping[str, Figure], settings: ReportSettings) -> dict[str, Any]:
    """What the page's scripts know from the start."""
    others = [variant for variant in settings.variants if variant != BASELINE]
    return {
        "models": settings.models,
        "cases": settings.cases,
        "baseline": BASELINE,
        "others": others,
        # What training did, rather than what a temperature does.
        "shown": next(iter([*settings.adapters, *others]), None),
        "colours": {name: look.colour for name, look in variant_looks(settings.variants).items()},
        "figures": {
            name: {
                "title": figure.title,
                "chart": figure.chart,
                "panel": figure.panel,
                "width": figure.width,
                "legend": {
                    "key": figure.legend.key,
                    "entries": [{"name": name, **look._asdict()} for name, look in figure.legend.looks.items()],
                },
                "compared": figure.compared,
                "all": ALL in figure.rows,
            }
            for name, figure in figures.items()
        },
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
        if step.stage == "fetch-model"
    ]


def _source(source: Mapping[str, str]) -> str:
    match source["kind"]:
        case "hub":
            return f"{source['repo']} at revision {source['revision']}"
        case "wheel":
            return f"{source['file']} of {source['package']} {source['version']}, sha256 {source['file_sha256']}"
    return f"directory {Path(source['path']).name}"
