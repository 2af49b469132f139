"""The report: everything that an experiment found, on one page."""

from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream, read_provenance, write_provenance
from outctl.pipeline.specs import ReportSettings, Spec
from outctl.report.page import render
from outctl.report.steps import read_step
from outctl.storage.files import read_json, read_jsonl, write_text
from outctl.tasks.samples import read_samples

WHOLE = ("aggregate-model", "aggregate")
"""Stages whose outputs are checked whole; of the others the report reads provenance, questions and training logs."""


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
    text = render(read_json(layout.combined()), results, samples, logs, steps, settings, settings.assets)
    write_text(layout.report(), text)
    write_provenance(beside(layout.report()), spec, [layout.report()])
