"""The combined results of all models: one JSON file and the tables."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import environment, write_provenance
from outctl.pipeline.setup import Names, Setup
from outctl.pipeline.specs import Spec
from outctl.stages.results import AggregateSettings, ResultStage, aggregate_settings, read_model_results
from outctl.storage.files import write_json, write_text

TABLES: dict[str, Callable[[Layout], Path]] = {
    "results": Layout.results_table,
    "cases": Layout.case_table,
    "comparisons": Layout.comparison_table,
    "matrix": Layout.matrix_table,
    "learning_curves": Layout.learning_table,
    "seeds": Layout.seed_table,
    "base_model_deviation": Layout.deviation_table,
    "retention": Layout.retention_table,
    "retention_positions": Layout.retention_position_table,
    "agreement": Layout.agreement_table,
}
"""Where each table lies, those of output control first."""


def run(spec: Spec, results_dir: Path) -> None:
    """Combine the results of all models.

    Args:
        spec: the specification of this job.
        results_dir: where the models' results lie and the combined ones go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    from outctl.results.combined import combine
    from outctl.results.csv_tables import to_csv

    settings, layout = spec.settings_as(AggregateSettings), Layout(results_dir, Path())
    results = read_model_results(spec, layout, settings.models)
    content, tables = combine(results, settings, settings.cases, settings.metrics)
    write_json(
        layout.combined(),
        {
            **content,
            "recipes": {name: settings.recipes[name].model_dump(mode="json") for name in settings.trained},
            "provenance": {
                "spec_hash": spec.hash,
                "settings": settings.model_dump(mode="json"),
                "models": {model: own["provenance"] for model, own in results.items()},
                "environment": environment(),
            },
        },
    )
    written = {TABLES[name](layout): table for name, table in tables.items()}
    for file, table in written.items():
        write_text(file, to_csv(table))
    write_provenance(beside(layout.combined()), spec, [layout.combined(), *written])


class Aggregate(ResultStage):
    """Combine the results of all models: one JSON file and the tables."""

    name: ClassVar[str] = "aggregate"
    packages: ClassVar[tuple[str, ...]] = ("numpy", "pandas")
    entry = staticmethod(run)

    def settings(self, setup: Setup, names: Names) -> AggregateSettings:
        """What is gathered and compared."""
        return aggregate_settings(setup, setup.models)

    def output(self, layout: Layout, names: Names) -> Path:
        """The JSON file."""
        return layout.combined()

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """Also the tables."""
        return [setup.layout.combined(), *table_files(setup), self.provenance(setup.layout, names)]


def table_files(setup: Setup) -> list[Path]:
    """The tables that the experiment has something to put into, those of output control first."""
    experiment = setup.experiment
    wanted = {
        "comparisons": bool(setup.comparisons),
        "matrix": bool(setup.adapters),
        "learning_curves": bool(setup.recipes),
        "seeds": bool(setup.repeats),
        "base_model_deviation": bool(experiment.base_model_deviation),
        "retention": bool(experiment.retention and setup.adapters),
        "retention_positions": bool(experiment.retention and setup.adapters),
        "agreement": bool(experiment.agreement),
    }
    return [path(setup.layout) for name, path in TABLES.items() if wanted.get(name, True)]
