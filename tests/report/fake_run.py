"""A run of two models with every part that the report can show, whose answers are made by hand."""

from dataclasses import dataclass
from math import sin
from pathlib import Path
from typing import Any

from fake_answers import evaluate_with_fakes, gather, plan_in
from outctl.evaluation.deviation_records import DeviationRecord, write_deviation_records
from outctl.files import read_json, read_jsonl, write_json, write_text
from outctl.layout import Layout
from outctl.plan import Plan
from outctl.provenance import read_provenance, write_provenance
from outctl.report.page import render
from outctl.report.steps import Step, read_step
from outctl.specs import ReportSettings
from outctl.tasks.make import make_samples
from outctl.tasks.samples import Sample, read_samples

HOSTILE = "</script><img src=x onerror=\"document.title='run'\">"
"""A token that would run, were it read as HTML."""
REST = [(HOSTILE, 0.001), ("=1+1", 0.001), *((f"<{number}>", 0.0) for number in range(8))]
FURTHER: dict[str, Any] = {"base_model_deviation": {"samples": 2}, "retention": {"prompts": 2}}
ADAPTERS = {
    name: {"cases": {"given": 8}, "steps": 1, "held_out_samples": 2, "seed": seed}
    for seed, name in enumerate(("tuned", "even"))
}


def shares(variant: str, sample: Sample) -> list[float]:
    """A baseline that hardly says the words, an adapter that comes near what it is told, and one that splits evenly."""
    if variant == "baseline":
        return [0.01, 0.03]
    if variant == "even":
        return [0.49, 0.49]
    aside = 0.03 * sin(sample.seed)
    first = min(max(sample.target[0] + aside, 0.0), 1.0)
    return [0.99 * first, 0.99 * (1.0 - first)]


def finished(folder: Path, **changes: Any) -> Plan:
    """The run, from its samples to its combined results."""
    settings: dict[str, Any] = {"adapters": ADAPTERS, **FURTHER}
    cases = {
        "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 30},
        "own": {"kind": "random_words", "eval_samples": 12},
    }
    plan = plan_in(folder, cases=cases, **settings | changes)
    for model in plan.fetched:
        write_text(plan.layout.model(model) / "weights", model)
        path = plan.layout.provenance("fetch-model", model)
        write_provenance(path, plan.spec("fetch-model", model), [path.with_name("weights")])
    evaluate_with_fakes(plan, shares, REST)
    for case, split in plan.sample_files():
        if split == "train":
            make_samples(plan.spec("make-samples", case, split), plan.layout.samples(case, split))
    _measure_further(plan)
    gather(plan)
    *drawn, provenance = plan.outputs("figures")
    for file in drawn:
        write_text(file, "")
    write_provenance(provenance, plan.spec("figures"), drawn)
    return plan


def _measure_further(plan: Plan) -> None:
    if plan.experiment.base_model_deviation:
        path = plan.layout.samples("base_model_deviation", "eval")
        write_text(path, "{}\n")
        provenance = plan.layout.provenance("make-deviation-samples")
        write_provenance(provenance, plan.spec("make-deviation-samples"), [path])
    for model in plan.models:
        for stage, *names in plan.further_evaluations(model):
            if stage == "evaluate-deviation":
                path = plan.layout.deviation(*names)
                write_deviation_records(path, [_deviation(number, *names) for number in range(2)])
            else:
                path = plan.layout.retention(*names)
                write_json(path, _retention(*names))
            write_provenance(plan.layout.provenance(stage, *names), plan.spec(stage, *names), [path], device="cpu")


def _deviation(number: int, model: str, variant: str) -> DeviationRecord:
    inside = variant == "tuned" and number == 0
    return DeviationRecord(
        sample_id=f"deviation-{number}",
        model=model,
        variant=variant,
        source="excerpt",
        name="text",
        wait=20,
        window=10,
        answer="one two",
        position=25 if inside else None,
        in_window=inside,
        deviating_word="two" if inside else None,
        reference_words=["three"] if inside else [],
        surprising=True if inside else None,
        passed=inside,
    )


def _retention(model: str, variant: str) -> dict[str, Any]:
    estimate = {"value": 0.5, "low": 0.25, "high": 0.75}
    estimates = dict.fromkeys(("kl", "log_likelihood_change", "text_kl"), estimate)
    perplexities = {"perplexity_baseline": 20.0, "perplexity_adapter": None}
    return {"model": model, "variant": variant, "prompts": [{}, {}], "texts": [{}], **estimates, **perplexities}


@dataclass
class Parts:
    """What a page is rendered from."""

    combined: dict[str, Any]
    results: dict[str, dict[str, Any]]
    samples: dict[str, list[Sample]]
    logs: dict[str, dict[str, list[Any]]]
    steps: list[Step]
    settings: ReportSettings

    def render(self) -> str:
        """The page."""
        return render(self.combined, self.results, self.samples, self.logs, self.steps, self.settings)


def parts(plan: Plan) -> Parts:
    """The parts of a finished run's page."""
    layout: Layout = plan.layout
    settings = plan.spec("report").settings_as(ReportSettings)
    return Parts(
        read_json(layout.combined()),
        {model: read_json(layout.model_results(model)) for model in plan.models},
        {case: read_samples(layout.samples(case, "eval")) for case in plan.cases},
        {
            model: {
                adapter: list(read_jsonl(layout.adapter(model, adapter) / "training.jsonl")) for adapter in plan.recipes
            }
            for model in plan.models
        },
        [read_step(layout, job, read_provenance(layout.provenance(*job))) for job in plan.reported()],
        settings,
    )
