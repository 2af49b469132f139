"""A run of two models with every part that the report can show, whose answers are made by hand."""

from dataclasses import dataclass
from math import exp, sin
from pathlib import Path
from typing import Any

from fake_answers import evaluate_with_fakes, gather, plan_in
from outctl.evaluation.agreement import AgreementRecord, write_agreement
from outctl.evaluation.deviation_records import DeviationRecord, falls_inside, write_deviation_records
from outctl.evaluation.records import read_records
from outctl.evaluation.retention import (
    AnswerPosition,
    Estimate,
    PromptDivergence,
    RetentionResult,
    TextLikelihood,
    TextPositions,
)
from outctl.evaluation.sampling import compare
from outctl.evaluation.temperature import TemperatureFit
from outctl.finetune.trainer import training_log
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.report.page import render
from outctl.report.steps import Step, read_step
from outctl.stages.make_samples import run as make_samples
from outctl.stages.report import ReportSettings
from outctl.storage.files import read_json, read_jsonl, write_json, write_text
from outctl.storage.outputs import read_provenance
from outctl.tasks.samples import Sample, read_samples

HOSTILE = "</script><img src=x onerror=\"document.title='run'\">"
"""A token that would run, were it read as HTML."""
REST = [(HOSTILE, 0.001), ("=1+1", 0.001), *((f"<{number}>", 0.0) for number in range(8))]
CASES: dict[str, Any] = {
    "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 30},
    "own": {"kind": "random_words", "eval_samples": 12},
    "three": {"kind": "given_words", "num_words": 3, "train_samples": 8, "eval_samples": 12},
    "limits": {"kind": "suppression", "eval_samples": 12},
}
BASE: dict[str, Any] = {"cases": {"given": 8}, "steps": 40, "batch_size": 4, "held_out_samples": 2}
ADAPTERS: dict[str, Any] = {
    "tuned": BASE,
    "even": BASE | {"targets": "even"},
    "both": BASE | {"cases": {"given": 8, "three": 8}},
}
FURTHER: dict[str, Any] = {
    "sweeps": {
        "seeds": {"base": "tuned", "vary": {"seed": [1, 2]}},
        "size": {"base": "tuned", "vary": {"rank": [4, 64], "layers": {"first-half": [0, 1], "last-half": [2, 3]}}},
    },
    "base_model_deviation": {"samples": 6},
    "retention": {"prompts": 2},
    "agreement": {"cases": ["given"], "samples": 4},
    "temperature_scaling": {"case": "given", "samples": 2},
    # As many as a small run needs.
    "statistics": {"bootstrap_samples": 200, "permutations": 199},
}
MEASURED = ("evaluate-deviation", "evaluate-retention", "evaluate-agreement")
"""The stages of further evaluations."""


def shares(variant: str, sample: Sample) -> list[float]:
    """A baseline that hardly says the words, adapters that come near what they are told, and one that splits evenly."""
    words = len(sample.target)
    if variant == "baseline":
        return [0.01, 0.03, *[0.02] * (words - 2)]
    if variant == "temperature":
        return [0.1] * words
    if variant == "even":
        return [0.98 / words] * words
    # Each adapter is off by something of its own, and each sample too.
    aside = (0.02 + 0.01 * (len(variant) % 5)) * sin(sample.seed)
    first = min(max(sample.target[0] + aside, 0.0), 1.0)
    rest = 1.0 - sample.target[0]
    others = [share / rest if rest else 1.0 / (words - 1) for share in sample.target[1:]]
    return [0.99 * first, *(0.99 * (1.0 - first) * share for share in others)]


def finished(folder: Path, **changes: Any) -> Plan:
    """The run, from its samples to its combined results."""
    settings: dict[str, Any] = {"adapters": ADAPTERS, **FURTHER}
    plan = plan_in(folder, cases=CASES, **settings | changes)
    for model in plan.fetched:
        write_text(plan.layout.model(model) / "weights", model)
        path = plan.provenance("fetch-model", model)
        write_provenance(path, plan.spec("fetch-model", model), [path.with_name("weights")])
    for job in plan.jobs("fetch-adapter"):
        write_provenance(plan.provenance(*job), plan.spec(*job), [])
    evaluate_with_fakes(plan, shares, REST, _log)
    for _, case, split in plan.jobs("make-samples"):
        if split == "train":
            make_samples(plan.spec("make-samples", case, split), plan.layout.samples(case, split))
    _measure_further(plan)
    gather(plan)
    *drawn, provenance = plan.outputs("figures")
    for file in drawn:
        write_text(file, "")
    write_provenance(provenance, plan.spec("figures"), drawn)
    return plan


def _log(model: str, adapter: str) -> list[dict[str, Any]]:
    """A training that comes nearer with every step, the larger model and longer names faster, as `Trainer` tells of it."""
    speed = (0.05 if model == "small" else 0.1) + 0.01 * (len(adapter) % 5)
    history: list[dict[str, Any]] = []
    for step in range(10, 50, 10):
        left = exp(-speed * step)
        entry: dict[str, Any] = {"step": step, "loss": 3.0 * left, "learning_rate": 1e-3, "grad_norm": 1.0}
        if step % 20 == 0:
            for name, value in (("tvd", 0.8 * left), ("slope", 1.0 - left)):
                ends = {"": value, "_low": value - 0.05, "_high": value + 0.05}
                entry |= {f"held_out_{name}{end}": number for end, number in ends.items()}
            entry["held_out_mass"] = 1.0 - left
        history.append(entry)
    return training_log(history, samples_per_step=4)


def _measure_further(plan: Plan) -> None:
    if plan.experiment.base_model_deviation:
        path = plan.layout.samples("base_model_deviation", "eval")
        write_text(path, "{}\n")
        provenance = plan.provenance("make-deviation-samples")
        write_provenance(provenance, plan.spec("make-deviation-samples"), [path])
    for model in plan.models:
        if plan.experiment.temperature_scaling:
            path = plan.layout.temperature(model)
            before = {"kl_before": 2.0, "kl_before_low": 1.8, "kl_before_high": 2.2}
            after = {"kl_after": 1.5, "kl_after_low": 1.4, "kl_after_high": 1.6}
            fit = TemperatureFit(temperature=0.5, samples=2, **before, **after)
            write_json(path, {"model": model, **fit.model_dump(mode="json")})
            _tell(plan, path, "fit-temperature", model)
        for stage, *names in (job for job in plan.computed(model) if job[0] in MEASURED):
            (path, _) = plan.outputs(stage, *names)
            match stage:
                case "evaluate-deviation":
                    write_deviation_records(path, [_deviation(number, *names) for number in range(6)])
                case "evaluate-agreement":
                    write_agreement(path, _agreement(plan, *names))
                case _:
                    _, variant = names
                    write_json(path, {"model": model, "variant": variant, **_retention(model, variant)})
            _tell(plan, path, stage, *names)


def _tell(plan: Plan, path: Path, *job: str) -> None:
    """Write the provenance of an output."""
    write_provenance(plan.provenance(*job), plan.spec(*job), [path], device="cpu")


def _deviation(number: int, model: str, variant: str) -> DeviationRecord:
    """Answers that never break off, break off too soon, inside, and too late; those inside with a surprising word pass."""
    position = None if variant == "baseline" and number < 3 else (3, 24, 26, 29, 38, None)[number]
    inside = falls_inside(position, 20, 10)
    surprising = (variant != "even") if inside else None
    return DeviationRecord(
        sample_id=f"deviation-{number}",
        model=model,
        variant=variant,
        source="pattern" if number % 2 else "excerpt",
        name="letters" if number % 2 else "licence",
        wait=20,
        window=10,
        answer="one two",
        position=position,
        in_window=inside,
        deviating_word=None if position is None else "two",
        reference_words=["three"] if inside else [],
        surprising=surprising,
        passed=surprising is True,
    )


def _agreement(plan: Plan, model: str, variant: str, case: str) -> list[AgreementRecord]:
    """Answers drawn 200 times that come as near to the exact probabilities as whole numbers can."""
    exact = read_records(plan.layout.records(model, variant, case))[:4]
    return [compare(record, [int(200 * share) for share in record.probabilities], 200) for record in exact]


def _retention(model: str, variant: str) -> dict[str, Any]:
    """A divergence of its own for each model and adapter."""
    kl = 0.1 * (len(model) + len(variant)) - 0.5
    own = Estimate(value=kl, low=0.8 * kl, high=1.3 * kl)
    alike = Estimate(value=0.5, low=0.25, high=0.75)
    text = TextLikelihood(
        name="text",
        tokens=9,
        log_likelihood_baseline=-3.0,
        log_likelihood_adapter=None,
        perplexity_baseline=20.0,
        perplexity_adapter=None,
        kl=0.5,
    )
    return RetentionResult(
        prompts=[PromptDivergence(prompt=prompt, answer="yes", kl=[kl]) for prompt in ("Is it?", "Was it?")],
        kl=own,
        kl_by_position=[AnswerPosition(position=place, prompts=2, kl=own) for place in (1, 2, 3)],
        texts=[text],
        perplexity_baseline=Estimate(value=20.0, low=15.0, high=25.0),
        perplexity_adapter=Estimate(value=None, low=None, high=None),
        log_likelihood_change=alike,
        text_kl=alike,
        text_by_position=[
            TextPositions(
                first=first,
                last=last,
                texts=1,
                kl=alike,
                perplexity_baseline=alike,
                perplexity_adapter=alike,
                log_likelihood_change=alike,
            )
            for first, last in ((1, 1), (2, 2), (17, 32))
        ],
    ).model_dump(mode="json")


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
        return render(
            self.combined, self.results, self.samples, self.logs, self.steps, self.settings, self.settings.assets
        )


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
        [
            read_step(job, read_provenance(plan.provenance(*job)), plan.stages[job[0]].benchmark(layout, job[1:]))
            for job in plan.upstream("report")
        ],
        settings,
    )
