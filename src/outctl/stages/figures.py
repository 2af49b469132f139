"""Figures for a paper, and the numbers that they show."""

from collections.abc import Sequence
from pathlib import Path

from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs, write_provenance
from outctl.pipeline.specs import FiguresSettings, Spec
from outctl.report.drawing import Drawing, draw
from outctl.report.figure import Measured
from outctl.report.figure_tables import read_figure_table, write_figure_table
from outctl.report.registry import FILES
from outctl.storage.files import read_json, write_bytes


def draw_figures(spec: Spec, layout: Layout) -> None:
    """Write the numbers of all figures from the models' results, and draw the figures from them.

    Args:
        spec: the specification of this job.
        layout: where the models' results lie and the figures go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(FiguresSettings)
    results = {}
    for model in settings.models:
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results[model] = read_json(file)
    measured = Measured(results, settings)
    tables = [layout.figure_numbers(name) for name in settings.figures]
    for name, table in zip(settings.figures, tables, strict=True):
        write_figure_table(table, FILES[name], FILES[name].rows(measured))
    folder = tables[0].parent
    figures = draw_from_tables(folder, folder, Drawing(), settings.figures)
    write_provenance(beside(layout.figure("figures")), spec, [*figures, *tables])


def draw_from_tables(folder: Path, output: Path, drawing: Drawing, names: Sequence[str] | None = None) -> list[Path]:
    """Draw figures from their numbers alone, `{figure}.csv`.

    Args:
        folder: where the numbers lie.
        output: where the figures go.
        drawing: how they are drawn.
        names: the figures; by default all whose numbers are there.

    Returns:
        The figures' files.

    Raises:
        OutctlError: a table is missing, or none of its figure.
    """
    if names is None:
        names = [name for name in FILES if (folder / f"{name}.csv").is_file()]
        if not names:
            raise OutctlError(
                f"{folder}: holds the numbers of no figure; they are called {', '.join(FILES)} and end in .csv"
            )
    tables = {name: read_figure_table(folder / f"{name}.csv", FILES[name]) for name in names}
    files = []
    for name, rows in tables.items():
        files.append(output / f"{name}.{drawing.format}")
        write_bytes(files[-1], draw(FILES[name], rows, drawing))
    return files
