"""What a figure is: its rows, the charts that show them, and its texts, for the page and for files alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import create_model

from outctl.report.looks import Look, looks_of, variant_looks
from outctl.results.variants import Drawn
from outctl.storage.files import TableRow

Row = dict[str, Any]
Results = Mapping[str, Any]
"""What `aggregate-model` wrote of one model."""
Section = Literal["answer", "calibration", "carries-over", "training", "sweeps", "cost", "further"]
"""Where a figure stands on the page."""


class FigureRow(TableRow):
    """What rows of all tables have in common."""

    model: str
    """The model."""
    variant: str
    """`baseline`, `temperature`, or an adapter."""


def columns_of(table: type[TableRow], name: str, doc: str, columns: Iterable[str]) -> type[TableRow]:
    """Return the row of a figure's table that shows some columns of another table.

    Args:
        table: a row of the other table.
        name: the name of the row.
        doc: its docstring.
        columns: the columns beside the model and variant.
    """
    fields: Any = {column: (table.model_fields[column].annotation, table.model_fields[column]) for column in columns}
    return create_model(name, __base__=FigureRow, __doc__=doc, **fields)


@dataclass(frozen=True)
class Measured:
    """What figures take their rows from.

    Attributes:
        results: the results of each model.
        experiment: the experiment.
        logs: the lines of `training.jsonl` by model and adapter; only the page has them.
    """

    results: Mapping[str, Results]
    experiment: Drawn
    logs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)

    def summary(self, model: str) -> dict[tuple[str, str], Row]:
        """Return the rows of a model's summary by variant and case, the references' among them."""
        return {(row["variant"], row["case_type"]): row for row in self.results[model]["summary"]}


class View(NamedTuple):
    """A chart of a figure. A figure with several shows each of its panels in every one.

    Attributes:
        chart: its Vega-Lite specification without data; the rows are the data set `rows`.
        width: its least width in pixels.
        title: what it shows, where a figure has several.
        where: values of the rows that it shows.
    """

    chart: dict[str, Any]
    width: int
    title: str = ""
    where: Mapping[str, Any] = {}


class Panel(NamedTuple):
    """One plot.

    Attributes:
        place: the values that tell it from other panels.
        view: its chart.
        rows: its rows.
        samples: how many samples it shows; None where it does not say.
    """

    place: dict[str, str]
    view: View
    rows: list[Row]
    samples: int | None

    @property
    def key(self) -> str:
        """Its name among all panels of the figure."""
        return " · ".join(filter(None, (*self.place.values(), self.view.title)))


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: its name, also of its files.
        title, caption: what stands above and below it.
        section: where it stands on the page.
        panels: the keys of the rows that tell panels apart.
        rows: gives its rows, of all models; undefined numbers are None. Keys beyond those of `row` are for the page alone.
        views: gives its charts from all rows and the names of all variants.
        describe: describes a panel in words, from its rows and the title of its view.
        row: a row of its table; None for a figure that only the page shows.
        wanted: whether an experiment has anything to draw.
        key: the key of the rows whose values its legend names; empty for none.
        marks: what else the legend names.
        counted: the key whose distinct values are the samples of a panel; empty where a panel does not name their number.
        together: whether the page shows all models at once.
        compared: whether the page shows the baseline and one other variant, which the reader chooses.
        without_sweeps: whether the page leaves out the variants of sweeps.
    """

    name: str
    title: str
    caption: str
    section: Section
    panels: tuple[str, ...]
    rows: Callable[[Measured], Iterable[Row]]
    views: Callable[[Sequence[Row], Sequence[str]], list[View]]
    describe: Callable[[Sequence[Row], str], str]
    row: type[TableRow] | None = None
    wanted: Callable[[Any], bool] = lambda experiment: True
    key: Literal["variant", "model", ""] = "variant"
    marks: Mapping[str, Look] = field(default_factory=dict)
    counted: str = ""
    together: bool = False
    compared: bool = False
    without_sweeps: bool = False

    def looks(self, rows: Sequence[Row], variants: Sequence[str]) -> dict[str, Look]:
        """Return the looks that the legend names, of all variants or models."""
        if self.key == "model":
            return looks_of(names_in(rows, "model"))
        return variant_looks(variants) if self.key else {}

    def arranged(self, rows: Sequence[Row], views: Sequence[View]) -> list[Panel]:
        """Return the panels of rows in order: every place in every view that has rows."""
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            found.setdefault(tuple(row[key] for key in self.panels), []).append(row)
        panels = []
        for place, own in found.items():
            for view in views:
                shown = [row for row in own if all(row[key] == value for key, value in view.where.items())]
                if shown:
                    count = len(names_in(shown, self.counted)) if self.counted else None
                    panels.append(Panel(dict(zip(self.panels, place, strict=True)), view, shown, count))
        return panels


def names_in(rows: Iterable[Row], key: str) -> list[str]:
    """Return the distinct values of a column in order."""
    return list(dict.fromkeys(row[key] for row in rows))


def grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    """Return the rows by the values of a column, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def with_ends(*names: str) -> list[str]:
    """Return the columns of numbers with those of their intervals."""
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def picked(row: Mapping[str, Any], keys: Iterable[str]) -> Row:
    """Return some keys of a row."""
    return {key: row[key] for key in keys}
