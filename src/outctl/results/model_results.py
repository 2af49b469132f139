"""All results of one model: rows of every table, and the records that they were computed from."""

from collections.abc import Mapping, Sequence
from typing import Any

from outctl.config.comparisons import Compare
from outctl.config.names import BASELINE, REFERENCE_MODEL, REFERENCES
from outctl.config.statistics import Statistics
from outctl.evaluation.agreement import AgreementRecord, summarise_agreement
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.evaluation.records import Record
from outctl.evaluation.references import reference_records
from outctl.metrics.sharing import Sharing
from outctl.results.comparisons import between_seeds, compare, corrected
from outctl.results.evaluation_rows import learning_curve, retention_positions, retention_row, summarise_deviation
from outctl.results.metric_columns import metric_columns
from outctl.results.summary import SummaryRow, defined, summarise
from outctl.results.variant_row import variant_row
from outctl.tasks.samples import Sample

Records = Mapping[str, Mapping[str, list[Record]]]
"""Records by variant and case."""


def output_control(
    model: str,
    samples: Mapping[str, Sequence[Sample]],
    records: Records,
    metrics: Sequence[str],
    statistics: Statistics,
    seed: int,
) -> dict[str, Any]:
    """Rows of the cases, each and all together, of references and variants.

    Args:
        model: name of the model.
        samples: the questions by case.
        records: the answers.
        metrics: divergences that have columns beside those that are always there.
        statistics: how intervals are computed.
        seed: the experiment's seed.
    """
    shared = shared_by_case(samples)
    references: dict[str, dict[str, list[Record]]] = {name: {} for name in REFERENCES}
    summary: list[dict[str, Any]] = []

    def add(row: SummaryRow, of: Sequence[Record]) -> None:
        measured = metric_columns(metrics, of, statistics, seed, shared[row.case_type])
        summary.append(defined(row) | {key: None if value != value else value for key, value in measured.items()})

    for case, questions in samples.items():
        fixed = reference_records(questions)
        for name, ignoring in fixed.items():
            references[name][case] = ignoring
            add(summarise(REFERENCE_MODEL, name, case, ignoring, statistics, seed, shared=shared[case]), ignoring)
        before = records[BASELINE][case]
        for variant, own in records.items():
            row = summarise(model, variant, case, own[case], statistics, seed, before, fixed, shared[case])
            add(row, own[case])
    rows = [
        variant_row(of, variant, by_case, statistics, seed, shared)
        for of, variants in ((REFERENCE_MODEL, references), (model, records))
        for variant, by_case in variants.items()
        # With limits alone there is a single reference.
        if by_case
    ]
    return {
        "overall": [defined(row) for row in rows],
        "summary": summary,
        "records": {
            variant: {case: [record.model_dump(mode="json") for record in found] for case, found in own.items()}
            for variant, own in records.items()
        },
    }


def shared_by_case(samples: Mapping[str, Sequence[Sample]]) -> dict[str, Sharing]:
    """What the samples of each case have in common."""
    return {case: Sharing([sample.subjects for sample in questions]) for case, questions in samples.items()}


def compared(
    samples: Mapping[str, Sequence[Sample]],
    records: Records,
    comparisons: Sequence[Compare],
    repeats: Sequence[Sequence[str]],
    statistics: Statistics,
    seed: int,
) -> dict[str, Any]:
    """Rows of comparisons, and of the spread between seeds.

    Args:
        samples: the questions by case.
        records: the answers.
        comparisons: what is compared with what.
        repeats: adapters that differ in their seed alone.
        statistics: how intervals are computed.
        seed: the experiment's seed.
    """
    rows = []
    for pair in comparisons:
        against, own = _both(records, pair)
        among = Sharing([sample.subjects for sample in samples[pair.case][: len(own)]])
        rows.append(compare(against, own, statistics, seed, among))
    seeds = [
        between_seeds([records[adapter][case] for adapter in adapters], statistics.confidence)
        for adapters in repeats
        for case in records[BASELINE]
    ]
    return {
        "comparisons": [defined(row) for row in corrected(rows, "tvd_p", "within_tolerance_p")],
        "seeds": [defined(row) for row in seeds],
    }


def _both(records: Records, pair: Compare) -> tuple[list[Record], list[Record]]:
    """The two sides of a comparison; of cases with unlike numbers of samples, those that both have, which are the first."""
    against, own = records[pair.against_variant][pair.against_case], records[pair.variant][pair.case]
    common = min(len(against), len(own)) if pair.case != pair.against_case else None
    return against[:common], own[:common]


def learning_curves(model: str, logs: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of what trainings measured, from their logs by adapter."""
    return [row for adapter, log in logs.items() for row in learning_curve(model, adapter, log)]


def deviation(records: Mapping[str, list[DeviationRecord]], statistics: Statistics) -> dict[str, Any]:
    """Rows and records of `base_model_deviation`, from the records by variant."""
    summary = [summarise_deviation(own, records[BASELINE], statistics) for own in records.values()]
    return {
        "summary": [defined(row) for row in corrected(summary, "passed_p")],
        "records": {variant: [record.model_dump(mode="json") for record in own] for variant, own in records.items()},
    }


def retention(results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Rows of what training changed elsewhere, from what was measured by adapter."""
    return {
        "summary": [defined(retention_row(content)) for content in results.values()],
        "positions": [defined(row) for content in results.values() for row in retention_positions(content)],
        "results": results,
    }


def agreement(records: Sequence[list[AgreementRecord]], statistics: Statistics, seed: int) -> dict[str, Any]:
    """Rows and records of sampled answers, from the records of each variant and case."""
    summary = [summarise_agreement(own, statistics, seed) for own in records]
    return {
        "summary": [defined(row) for row in corrected(summary, "p_value")],
        "records": [record.model_dump(mode="json") for own in records for record in own],
    }
