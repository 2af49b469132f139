"""Experiments whose answers are made by hand, and otherwise by the real stages."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.evaluation.records import write_records
from outctl.evaluation.scoring import score
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.stages.aggregate import run as aggregate
from outctl.stages.aggregate_model import run as aggregate_model
from outctl.stages.dag import plan_of
from outctl.stages.make_samples import run as make_samples
from outctl.storage.files import write_jsonl
from outctl.tasks.samples import Sample, read_samples

MODELS = ("small", "large")
MEASURED = {"held_out_tvd": 0.25, "held_out_slope": None, "held_out_mass": 0.75}
LOG: list[dict[str, Any]] = [{"step": 1, "samples": 16, "loss": 1.0}, {"step": 2, "samples": 32, **MEASURED}]
FREE_SHARE = 0.6
"""Share of the first word among the words' mass where no limit is asked for."""
REST = [(f"<{n}>", 0.0) for n in range(10)]


def plan_in(folder: Path, **changes: Any) -> Plan:
    entry = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 1000}
    experiment = {
        "models": list(MODELS),
        "cases": {
            "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 6},
            "own": {"kind": "random_words", "eval_samples": 4},
        },
        "adapters": {"tuned": {"cases": {"given": 8}, "steps": 1, "held_out_samples": 2}},
        "results_dir": str(folder),
        "models_dir": str(folder / "models"),
        # As many as a small run needs.
        "statistics": {"bootstrap_samples": 500, "permutations": 499},
    }
    return plan_of(
        Experiment.model_validate(experiment | changes),
        Registry.model_validate({"models": dict.fromkeys(MODELS, entry)}),
    )


AnswerRule = Callable[[str, Sample], list[float]]
"""Probabilities of a sample's words, given the variant that answers."""


def evenly_or_as_told(variant: str, sample: Sample) -> list[float]:
    """A baseline that splits evenly, and adapters that do as they are told."""
    return [0.5] * len(sample.target) if variant == "baseline" else sample.target


def evaluate_with_fakes(
    plan: Plan,
    answer: AnswerRule = evenly_or_as_told,
    rest: Sequence[tuple[str, float]] = tuple(REST),
    log: Callable[[str, str], list[dict[str, Any]]] = lambda model, adapter: LOG,
) -> None:
    """Samples from the real stage, and fake answers to them.

    Args:
        plan: the experiment.
        answer: what is answered.
        rest: the tokens that follow the words.
        log: the log of a model's training of an adapter.
    """
    for model in plan.models:
        for adapter in plan.recipes:
            training = plan.layout.adapter(model, adapter) / "training.jsonl"
            write_jsonl(training, log(model, adapter))
            spec = plan.spec("finetune", model, adapter)
            write_provenance(training.parent / "provenance.json", spec, [training])
    for case in plan.cases:
        file = plan.layout.samples(case, "eval")
        make_samples(plan.spec("make-samples", case, "eval"), file)
        for model in plan.models:
            for variant in plan.variants_of(model):
                records = []
                for sample in read_samples(file):
                    words = sample.words or ["zephyr", "quagmire"]
                    shares = answer(variant, sample)
                    top = [*zip(words, shares, strict=True), *rest]
                    logarithms = [math.log(share) if share else -math.inf for share in shares]
                    free_share = FREE_SHARE if sample.at_most else None
                    records.append(score(sample, model, variant, words, logarithms, top, free_share=free_share))
                output = plan.layout.records(model, variant, case)
                write_records(output, records)
                spec = plan.spec("evaluate", model, variant, case)
                write_provenance(
                    output.with_suffix(".provenance.json"), spec, [output], base_weights_hash=model, device="cpu"
                )


def gather(plan: Plan) -> Layout:
    for model in plan.models:
        aggregate_model(plan.spec("aggregate-model", model), plan.layout.results)
    aggregate(plan.spec("aggregate"), plan.layout.results)
    return plan.layout
