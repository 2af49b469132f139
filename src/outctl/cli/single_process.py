"""Cases and scores in one process, without the workflow: for a first look at a model or an adapter."""

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from outctl.config.names import BASELINE, REFERENCE_MODEL
from outctl.config.registries import metric_names
from outctl.errors import OutctlError
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import Record
from outctl.evaluation.references import reference_records
from outctl.inference.engine_check import prepare
from outctl.models.loading import check_adapter, load_model
from outctl.pipeline.plan import Plan
from outctl.results.metric_columns import metric_columns
from outctl.results.model_results import shared_by_case
from outctl.results.summary import SummaryRow, column_names, summarise
from outctl.stages.make_samples import first_samples
from outctl.tasks.samples import Sample

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def run_in_one_process(
    plan: Plan, models: list[str], count: int, adapter: Path | None, report: Report, force: bool = False
) -> pd.DataFrame:
    """Ask each model the first samples of every case, with and without the adapter; one model at a time is in memory.

    Args:
        plan: the experiment; its evaluation samples are the ones that the workflow would draw.
        models: models of the registry, fetched.
        count: samples of each case.
        adapter: an adapter's directory; None measures the baseline alone.
        report: called as samples are done.
        force: take an adapter that names another base model, too.

    Returns:
        A row a model, variant and case, as `output_control_simple_metrics.csv`, the references first.

    Raises:
        OutctlError: a model is not fetched, or the adapter belongs to another.
    """
    for model in models:
        if not (plan.layout.model(model) / "provenance.json").is_file():
            raise OutctlError(f"model {model} is not fetched; run `outctl fetch-model {model}` first")
        if adapter is not None:
            check_adapter(adapter, plan.layout.model(model), force)
    seed, statistics = plan.experiment.seed, plan.experiment.statistics
    samples = {name: first_samples(plan, name, count) for name in plan.cases}
    references = {case: reference_records(questions) for case, questions in samples.items()}
    shared = shared_by_case(samples)
    metrics = metric_names(plan.experiment.plugins)
    rows = [
        summarise(REFERENCE_MODEL, name, case, records, statistics, seed, shared=shared[case]).model_dump()
        | metric_columns(metrics, records, statistics, seed, shared[case])
        for case, by_name in references.items()
        for name, records in by_name.items()
    ]
    variants: dict[str, Path | None] = {BASELINE: None}
    if adapter is not None:
        own = adapter.resolve().name
        variants[own if own != BASELINE else f"{own}-adapter"] = adapter
    for model in models:
        baseline: dict[str, list[Record]] = {}
        for variant, directory in variants.items():
            found = _measure_cases(plan, model, variant, directory, samples, report, force)
            baseline = baseline or found
            rows += [
                summarise(
                    model, variant, case, records, statistics, seed, baseline[case], references[case], shared[case]
                ).model_dump()
                | metric_columns(metrics, records, statistics, seed, shared[case])
                for case, records in found.items()
            ]
    return pd.DataFrame(rows, columns=[*SummaryRow.model_fields, *column_names(metrics)])


def _measure_cases(
    plan: Plan,
    model: str,
    variant: str,
    adapter: Path | None,
    samples: dict[str, list[Sample]],
    report: Report,
    force: bool,
) -> dict[str, list[Record]]:
    """Load one model and variant, measure every case, and give its memory back."""
    entry, experiment = plan.registry.models[model], plan.experiment
    loaded = load_model(plan.layout.model(model), entry.precision, entry.chat, adapter, entry, force)
    prepare(loaded, entry.engine)
    records = {}
    for case, questions in samples.items():
        progress = partial(report, f"{model} {variant} {case}")
        asked = CaseQuestions(loaded, questions)
        records[case] = asked.measure(range(len(questions)), model, variant, experiment.evaluation, progress)
    del loaded
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return records
