"""The table of a figure: the numbers that it shows, which are all that drawing it needs."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from outctl.errors import OutctlError
from outctl.metrics.statistics import NAN
from outctl.report.figure import Figure, Row
from outctl.results.csv_tables import to_csv
from outctl.storage.files import write_text


def write_figure_table(path: Path, figure: Figure, rows: Iterable[Row]) -> None:
    """Write the rows of a figure."""
    assert figure.row is not None
    columns = list(figure.row.model_fields)
    found = [{key: NAN if row[key] is None else row[key] for key in columns} for row in rows]
    checked = [figure.row.model_validate(row).model_dump() for row in found]
    write_text(path, to_csv(pd.DataFrame(checked, columns=columns)))


def read_figure_table(path: Path, figure: Figure) -> list[Row]:
    """Read the rows of a figure; undefined numbers are None.

    Raises:
        OutctlError: the file is missing, empty, or not a table of this figure.
    """
    assert figure.row is not None
    columns = list(figure.row.model_fields)
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutctlError(f"{path}: cannot be read ({error})") from None
    if len(lines) < 2 or lines[0] != columns:
        raise OutctlError(
            f"{path}: not the numbers of {figure.name}, which have at least one row, and the columns {', '.join(columns)}"
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise OutctlError(f"{path} line {number}: {len(line)} cells instead of {len(columns)}")
        # Undefined numbers are empty cells.
        cells = {key: cell or "nan" for key, cell in zip(columns, line, strict=True)}
        try:
            row = figure.row.model_validate(cells).model_dump()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise OutctlError(f"{path} line {number}: {first['loc'][0]}: {first['msg']}") from None
        rows.append({key: None if value != value else value for key, value in row.items()})
    return rows
