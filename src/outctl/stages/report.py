"""The report: everything that there is to see, in one HTML file."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream, write_provenance
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec, Texts
from outctl.pipeline.stage import Files, Stage
from outctl.results.variants import Drawn
from outctl.stages.results import ResultStage, drawn
from outctl.storage.files import read_json, read_jsonl, write_text
from outctl.storage.outputs import read_provenance

WHOLE = ("aggregate-model", "aggregate")
"""Stages whose outputs are checked whole; of the others the report reads provenance, questions and training logs."""


class ReportSettings(Drawn):
    """Its settings: `assets` are template, style and scripts of the page, by the names of their files."""

    assets: Texts


# The quotes keep how stages are planned out of the report's fingerprint.
def run(spec: Spec, stages: "Mapping[str, Stage]", results_dir: Path, models_dir: Path) -> None:
    """Write the report.

    Args:
        spec: the specification of this job.
        stages: the stages whose jobs it shows, in the order of the run.
        results_dir: where results lie and the report goes.
        models_dir: where the models lie.

    Raises:
        OutctlError: a result is missing, broken, or from other settings than the current ones.
    """
    from outctl.report.page import render
    from outctl.report.steps import read_step
    from outctl.tasks.samples import read_samples

    settings, layout = spec.settings_as(ReportSettings), Layout(results_dir, models_dir)
    order, steps = list(stages), []
    for job in sorted((tuple(name.split("/")) for name in spec.upstream), key=lambda job: order.index(job[0])):
        stage, names = stages[job[0]], job[1:]
        path = stage.provenance(layout, names)
        check_upstream(spec, "/".join(job), path, whole=stage.name in WHOLE)
        steps.append(read_step(job, read_provenance(path), stage.benchmark(layout, names)))
    results = {model: read_json(layout.model_results(model)) for model in settings.models}
    samples = {case: read_samples(layout.samples(case, "eval")) for case in settings.cases}
    logs = {
        model: {
            adapter: list(read_jsonl(layout.adapter(model, adapter) / "training.jsonl")) for adapter in settings.trained
        }
        for model in settings.models
    }
    text = render(read_json(layout.combined()), results, samples, logs, steps, settings, settings.assets)
    write_text(layout.report(), text)
    write_provenance(beside(layout.report()), spec, [layout.report()])


class Report(ResultStage):
    """Write the report: one HTML file with the answer, the figures and every sample."""

    name: ClassVar[str] = "report"
    packages: ClassVar[tuple[str, ...]] = ("altair", "jinja2", "numpy", "scipy", "vl-convert-python")
    entry = staticmethod(run)

    def settings(self, setup: Setup, names: Names) -> ReportSettings:
        """What is shown, and on which page."""
        return ReportSettings(assets=page_assets(), **drawn(setup))

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Every other job: it shows the provenance of all."""
        return [job for job in setup.jobs() if job[0] != self.name]

    def output(self, layout: Layout, names: Names) -> Path:
        """The page."""
        return layout.report()

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """Also the directory of the models."""
        return {"results_dir": layout.results, "models_dir": layout.models}

    def changes(self, before: Mapping[str, Any], now: Mapping[str, Any], names: Names) -> list[str]:
        """Also which files of the page were edited."""
        old, new = before.get("assets", {}), now["assets"]
        edited = sorted(name for name in old | new if old.get(name) != new.get(name))
        lines = [f"the page of the report was edited: {', '.join(edited)}"] if edited else []
        return [*super().changes(before, now, names), *lines]


def page_assets() -> dict[str, str]:
    """Template, style and scripts of the report's page, by the names of their files."""
    folder = resources.files("outctl").joinpath("report", "assets")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
