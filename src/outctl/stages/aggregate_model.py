"""All results of one model in one file: summaries and records of every variant, case and evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from outctl.config.names import TEMPERATURE
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs, check_upstream, write_provenance
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.stages.results import AggregateSettings, ResultStage, aggregate_settings
from outctl.storage.files import read_json, read_jsonl, write_json
from outctl.tasks.samples import Sample, read_samples

Check = Callable[[str, Path], dict[str, Any]]
"""Given a job upstream and its output, checks all outputs of the job and gives their provenance."""


def run(spec: Spec, results_dir: Path) -> None:
    """Gather the evaluations of one model, each checked against the specification that it must come from.

    Args:
        spec: the specification of this job.
        results_dir: where samples and evaluations lie, and the results go.

    Raises:
        OutctlError: an evaluation is missing, broken, or from other settings than the current ones.
    """
    from outctl.results.model_results import compared, learning_curves, output_control

    settings, layout = spec.settings_as(AggregateSettings), Layout(results_dir, Path())
    (model,) = settings.models
    statistics, seed = settings.statistics, settings.seed
    check = partial(_checked, spec)
    samples, records, provenance = _read_records(settings, model, layout, check)
    output = layout.model_results(model)
    content = {
        "model": model,
        **output_control(model, samples, records, settings.metrics, statistics, seed),
        **compared(samples, records, settings.comparisons, list(settings.repeats.values()), statistics, seed),
        "learning_curves": learning_curves(model, _read_logs(settings, model, layout, spec)),
        **_other_evaluations(settings, model, layout, check),
        "provenance": {"spec_hash": spec.hash, "evaluations": provenance},
    }
    write_json(output, content)
    write_provenance(beside(output), spec, [output])


def _checked(spec: Spec, job: str, output: Path) -> dict[str, Any]:
    return check_outputs(beside(output), spec.upstream[job])


def _read_records(
    settings: AggregateSettings, model: str, layout: Layout, check: Check
) -> tuple[dict[str, list[Sample]], dict[str, dict[str, list[Record]]], dict[str, dict[str, Any]]]:
    """Samples by case; records, and their provenance, by variant and case."""
    samples: dict[str, list[Sample]] = {}
    records: dict[str, dict[str, list[Record]]] = {variant: {} for variant in settings.variants}
    provenance: dict[str, dict[str, Any]] = {variant: {} for variant in settings.variants}
    for case in settings.cases:
        samples_file = layout.samples(case, "eval")
        check(f"make-samples/{case}/eval", samples_file)
        samples[case] = read_samples(samples_file)
        for variant in settings.variants:
            file = layout.records(model, variant, case)
            provenance[variant][case] = check(f"evaluate/{model}/{variant}/{case}", file)
            records[variant][case] = found = read_records(file)
            if [record.sample_id for record in found] != [sample.sample_id for sample in samples[case]]:
                raise OutctlError(f"{file}: does not answer the samples of {samples_file}; run the evaluation again")
    weights = {found["base_weights_hash"] for own in provenance.values() for found in own.values()}
    if len(weights) > 1:
        raise OutctlError(f"evaluations of {model} were made on {len(weights)} different weights; run them again")
    return samples, records, provenance


def _read_logs(settings: AggregateSettings, model: str, layout: Layout, spec: Spec) -> dict[str, list[dict[str, Any]]]:
    """The log of each adapter's training, where it was trained here."""
    logs = {}
    for adapter in settings.trained:
        folder = layout.adapter(model, adapter)
        # The weights are large, and nothing here depends on them.
        check_upstream(spec, f"finetune/{model}/{adapter}", folder / "provenance.json", whole=False)
        logs[adapter] = list(read_jsonl(folder / "training.jsonl"))
    return logs


def _other_evaluations(settings: AggregateSettings, model: str, layout: Layout, check: Check) -> dict[str, Any]:
    """What else was measured; None of what was not."""
    from outctl.evaluation.agreement import read_agreement
    from outctl.evaluation.deviation_records import read_deviation_records
    from outctl.results.model_results import agreement, deviation, retention

    def read(stage: str, reader: Callable[[Path], Any], path: Callable[..., Path], *names: str) -> Any:
        file = path(model, *names)
        check("/".join((stage, model, *names)), file)
        return reader(file)

    found: dict[str, Any] = dict.fromkeys(("base_model_deviation", "retention", "agreement", "temperature"))
    in_text = [variant for variant in settings.variants if variant != TEMPERATURE]
    if settings.deviation:
        answers = {name: read("evaluate-deviation", read_deviation_records, layout.deviation, name) for name in in_text}
        found["base_model_deviation"] = deviation(answers, settings.statistics)
    if settings.retention:
        found["retention"] = retention(
            {name: read("evaluate-retention", read_json, layout.retention, name) for name in settings.adapters}
        )
    if settings.agreement:
        sampled = [
            read("evaluate-agreement", read_agreement, layout.agreement, name, case)
            for name in in_text
            for case in settings.agreement
        ]
        found["agreement"] = agreement(sampled, settings.statistics, settings.seed)
    if TEMPERATURE in settings.variants:
        found["temperature"] = read("fit-temperature", read_json, layout.temperature)
    return found


class AggregateModel(ResultStage):
    """Gather the summary and the records of one model in one file."""

    name: ClassVar[str] = "aggregate-model"
    wildcards: ClassVar[Names] = ("model",)
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "simplemma", "torch", "wordfreq")
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> list[Names]:
        """Every model."""
        return [(model,) for model in setup.models]

    def settings(self, setup: Setup, names: Names) -> AggregateSettings:
        """What is gathered and compared."""
        return aggregate_settings(setup, list(names))

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Samples for evaluation, and all that was trained and measured."""
        (model,) = names
        return [*setup.computed(model), *(("make-samples", case, "eval") for case in setup.cases)]

    def output(self, layout: Layout, names: Names) -> Path:
        """The JSON file."""
        return layout.model_results(*names)
