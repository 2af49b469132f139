"""Figures for a paper, and the numbers that they show."""

from pathlib import Path
from typing import ClassVar

from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.setup import Names, Setup
from outctl.pipeline.specs import Spec
from outctl.results.variants import Drawn
from outctl.stages.results import ResultStage, drawn, read_model_results


class FiguresSettings(Drawn):
    """Its settings: `figures` are their names."""

    figures: list[str]


def run(spec: Spec, results_dir: Path) -> None:
    """Write the numbers of all figures from the models' results, and draw the figures from them.

    Args:
        spec: the specification of this job.
        results_dir: where the models' results lie and the figures go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    from outctl.report.drawing import Drawing
    from outctl.report.figure import Measured
    from outctl.report.figure_files import draw_from_tables
    from outctl.report.figure_tables import write_figure_table
    from outctl.report.registry import FILES

    settings, layout = spec.settings_as(FiguresSettings), Layout(results_dir, Path())
    measured = Measured(read_model_results(spec, layout, settings.models), settings)
    tables = [layout.figure_numbers(name) for name in settings.figures]
    for name, table in zip(settings.figures, tables, strict=True):
        write_figure_table(table, FILES[name], FILES[name].rows(measured))
    folder = tables[0].parent
    figures = draw_from_tables(folder, folder, Drawing(), settings.figures)
    write_provenance(beside(layout.figure("figures")), spec, [*figures, *tables])


class Figures(ResultStage):
    """Draw the figures, and write the numbers that they show beside them."""

    name: ClassVar[str] = "figures"
    packages: ClassVar[tuple[str, ...]] = ("altair", "pandas", "vl-convert-python")
    entry = staticmethod(run)

    def settings(self, setup: Setup, names: Names) -> FiguresSettings:
        """What is drawn."""
        return FiguresSettings(figures=figure_names(setup), **drawn(setup))

    def output(self, layout: Layout, names: Names) -> Path:
        """The name that stands for all of them."""
        return layout.figure("figures")

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """Every figure and its numbers."""
        layout, found = setup.layout, figure_names(setup)
        files = [*map(layout.figure, found), *map(layout.figure_numbers, found)]
        return [*files, self.provenance(layout, names)]


def figure_names(setup: Setup) -> list[str]:
    """The figures that the experiment has something to draw for."""
    from outctl.report.registry import FILES

    return [name for name, figure in FILES.items() if figure.wanted(setup.experiment)]
