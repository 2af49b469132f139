"""All results of one model in one file: summaries and records of every variant, case and further evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from outctl.config.names import BASELINE, REFERENCE_MODEL, REFERENCES, TEMPERATURE
from outctl.errors import OutctlError
from outctl.evaluation.agreement import read_agreement, summarise_agreement
from outctl.evaluation.deviation_records import read_deviation_records
from outctl.evaluation.records import Record, read_records
from outctl.evaluation.references import reference_records
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs, check_upstream, write_provenance
from outctl.pipeline.specs import AggregateSettings, Compare, Spec
from outctl.results.comparisons import between_seeds, compare, corrected
from outctl.results.further import learning_curve, retention_positions, retention_row, summarise_deviation
from outctl.results.metric_columns import metric_columns
from outctl.results.overall import overall
from outctl.results.summary import SummaryRow, defined, summarise
from outctl.storage.files import read_json, read_jsonl, write_json
from outctl.tasks.samples import read_samples

Check = Callable[..., dict[str, Any]]
"""Given a job upstream, checks its outputs and gives their provenance."""
Records = dict[str, dict[str, list[Record]]]
"""Records by variant and case."""


def aggregate_model(spec: Spec, layout: Layout, output: Path) -> None:
    """Gather the evaluations of one model, each checked against the specification that it must come from.

    Args:
        spec: the specification of this job.
        layout: where samples and evaluations lie.
        output: the file to write; its provenance is written beside it.

    Raises:
        OutctlError: an evaluation is missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(AggregateSettings)
    (model,) = settings.models
    statistics, seed = settings.statistics, settings.seed

    def check(stage: str, *names: str) -> dict[str, Any]:
        return check_outputs(layout.provenance(stage, *names), spec.upstream["/".join([stage, *names])])

    records, references, summary, provenance = _output_control(settings, model, layout, check)
    overall_rows = [
        *(overall(REFERENCE_MODEL, name, by_case, statistics, seed) for name, by_case in references.items()),
        *(overall(model, variant, by_case, statistics, seed) for variant, by_case in records.items()),
    ]
    comparisons = [compare(*_both(records, pair), statistics, seed) for pair in settings.comparisons]
    seeds = [
        between_seeds([records[adapter][case] for adapter in adapters], statistics.confidence)
        for adapters in settings.repeats.values()
        for case in settings.cases
    ]
    content = {
        "model": model,
        "overall": [defined(row) for row in overall_rows],
        "summary": summary,
        "comparisons": [defined(row) for row in corrected(comparisons, "tvd_p", "within_tolerance_p")],
        "seeds": [defined(row) for row in seeds],
        "learning_curves": _learning_curves(settings, model, layout, spec),
        "base_model_deviation": _deviation(settings, model, layout, check),
        "retention": _retention(settings, model, layout, check),
        "agreement": _agreement(settings, model, layout, check),
        "temperature": _temperature(settings, model, layout, check),
        "records": {
            variant: {case: [record.model_dump(mode="json") for record in found] for case, found in own.items()}
            for variant, own in records.items()
        },
        "provenance": {"spec_hash": spec.hash, "evaluations": provenance},
    }
    write_json(output, content)
    write_provenance(beside(output), spec, [output])


def _both(records: Records, pair: Compare) -> tuple[list[Record], list[Record]]:
    """The two sides of a comparison; of cases with unlike numbers of samples, those that both have, which are the first."""
    against, own = records[pair.against_variant][pair.against_case], records[pair.variant][pair.case]
    common = min(len(against), len(own)) if pair.case != pair.against_case else None
    return against[:common], own[:common]


def _output_control(
    settings: AggregateSettings, model: str, layout: Layout, check: Check
) -> tuple[Records, Records, list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Records, those of the references, rows of the summary, and provenance by variant and case."""
    statistics, seed = settings.statistics, settings.seed
    records: Records = {variant: {} for variant in settings.variants}
    provenance: dict[str, dict[str, Any]] = {variant: {} for variant in settings.variants}
    references: Records = {name: {} for name in REFERENCES}
    summary: list[dict[str, Any]] = []

    def add(row: SummaryRow, of: list[Record]) -> None:
        measured = metric_columns(settings.metrics, of, statistics, seed)
        summary.append(defined(row) | {key: None if value != value else value for key, value in measured.items()})

    for case in settings.cases:
        check("make-samples", case, "eval")
        samples_file = layout.samples(case, "eval")
        samples = read_samples(samples_file)
        fixed = reference_records(samples)
        for name, ignoring in fixed.items():
            references[name][case] = ignoring
            add(summarise(REFERENCE_MODEL, name, case, ignoring, statistics, seed), ignoring)
        for variant in settings.variants:
            provenance[variant][case] = check("evaluate", model, variant, case)
            file = layout.records(model, variant, case)
            found = read_records(file)
            if [record.sample_id for record in found] != [sample.sample_id for sample in samples]:
                raise OutctlError(f"{file}: does not answer the samples of {samples_file}; run the evaluation again")
            records[variant][case] = found
            before = records[BASELINE][case]
            add(summarise(model, variant, case, found, statistics, seed, before, fixed), found)
    weights = {found["base_weights_hash"] for own in provenance.values() for found in own.values()}
    if len(weights) > 1:
        raise OutctlError(f"evaluations of {model} were made on {len(weights)} different weights; run them again")
    return records, references, summary, provenance


def _learning_curves(settings: AggregateSettings, model: str, layout: Layout, spec: Spec) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for adapter in settings.adapters:
        # The weights are large, and nothing here depends on them.
        check_upstream(spec, f"finetune/{model}/{adapter}", layout.provenance("finetune", model, adapter), whole=False)
        rows += learning_curve(model, adapter, list(read_jsonl(layout.adapter(model, adapter) / "training.jsonl")))
    return rows


def _tuned(settings: AggregateSettings) -> list[str]:
    """The variants that answer in text."""
    return [variant for variant in settings.variants if variant != TEMPERATURE]


def _deviation(settings: AggregateSettings, model: str, layout: Layout, check: Check) -> dict[str, Any] | None:
    if not settings.deviation:
        return None
    records = {}
    for variant in _tuned(settings):
        check("evaluate-deviation", model, variant)
        records[variant] = read_deviation_records(layout.deviation(model, variant))
    summary = [summarise_deviation(own, records[BASELINE], settings.statistics) for own in records.values()]
    return {
        "summary": [defined(row) for row in corrected(summary, "passed_p")],
        "records": {variant: [record.model_dump(mode="json") for record in own] for variant, own in records.items()},
    }


def _retention(settings: AggregateSettings, model: str, layout: Layout, check: Check) -> dict[str, Any] | None:
    if not settings.retention:
        return None
    results = {}
    for adapter in settings.adapters:
        check("evaluate-retention", model, adapter)
        results[adapter] = read_json(layout.retention(model, adapter))
    return {
        "summary": [defined(retention_row(content)) for content in results.values()],
        "positions": [defined(row) for content in results.values() for row in retention_positions(content)],
        "results": results,
    }


def _agreement(settings: AggregateSettings, model: str, layout: Layout, check: Check) -> dict[str, Any] | None:
    if not settings.agreement:
        return None
    summary, records = [], []
    for variant in _tuned(settings):
        for case in settings.agreement:
            check("evaluate-agreement", model, variant, case)
            found = read_agreement(layout.agreement(model, variant, case))
            summary.append(summarise_agreement(found, settings.statistics, settings.seed))
            records += [record.model_dump(mode="json") for record in found]
    return {"summary": [defined(row) for row in corrected(summary, "p_value")], "records": records}


def _temperature(settings: AggregateSettings, model: str, layout: Layout, check: Check) -> dict[str, Any] | None:
    if TEMPERATURE not in settings.variants:
        return None
    check("fit-temperature", model)
    content: dict[str, Any] = read_json(layout.temperature(model))
    return content
