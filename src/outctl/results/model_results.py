"""All results of one model in one file: the summary and the records of every variant and case."""

from pathlib import Path
from typing import Any

from outctl.config import BASELINE
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records
from outctl.files import write_json
from outctl.layout import Layout, beside
from outctl.provenance import check_outputs, write_provenance
from outctl.results.comparisons import compare, corrected
from outctl.results.summary import defined, reference_rows, summarise
from outctl.specs import AggregateSettings, Spec
from outctl.tasks.samples import read_samples


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
    summary, comparisons = [], []
    records: dict[str, dict[str, list[dict[str, Any]]]] = {variant: {} for variant in settings.variants}
    provenance: dict[str, dict[str, Any]] = {variant: {} for variant in settings.variants}
    for case in settings.cases:
        samples_file = layout.samples(case, "eval")
        check_outputs(beside(samples_file), spec.upstream[f"make-samples/{case}/eval"])
        samples = read_samples(samples_file)
        summary += reference_rows(samples, case, statistics, seed)
        by_variant: dict[str, list[Record]] = {}
        for variant in settings.variants:
            file = layout.records(model, variant, case)
            expected = spec.upstream[f"evaluate/{model}/{variant}/{case}"]
            provenance[variant][case] = check_outputs(beside(file), expected)
            by_variant[variant] = found = read_records(file)
            if [record.sample_id for record in found] != [sample.sample_id for sample in samples]:
                raise OutctlError(f"{file}: does not answer the samples of {samples_file}; run the evaluation again")
            summary.append(summarise(model, variant, case, found, statistics, seed))
            records[variant][case] = [record.model_dump(mode="json") for record in found]
            if variant != BASELINE:
                comparisons.append(compare(by_variant[BASELINE], found, statistics, seed))
    weights = {found["base_weights_hash"] for own in provenance.values() for found in own.values()}
    if len(weights) > 1:
        raise OutctlError(f"evaluations of {model} were made on {len(weights)} different weights; run them again")
    write_json(
        output,
        {
            "model": model,
            "summary": [defined(row) for row in summary],
            "comparisons": [defined(row) for row in corrected(comparisons)],
            "records": records,
            "provenance": {
                "spec_hash": spec.hash,
                "evaluations": provenance,
            },
        },
    )
    write_provenance(beside(output), spec, [output])
