"""Columns of tables that have an interval: the column is declared, and those of its ends follow from it."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field, create_model

from outctl.storage.files import TableRow

Row = TypeVar("Row", bound=TableRow)


@dataclass(frozen=True)
class Ends:
    """Marks a column behind which the ends of its interval stand, in `_low` and `_high`.

    Attributes:
        interval: what kind of interval it is, for the description of both.
    """

    interval: str


Wilson = Annotated[float, Ends("Wilson interval")]
Bootstrap = Annotated[float, Ends("bootstrap interval")]


def with_intervals(row: type[Row]) -> type[Row]:
    """Decorate a row of a table: behind each column that `Ends` marks, add the columns of its ends."""
    fields: dict[str, Any] = {}
    for name, field in row.model_fields.items():
        fields[name] = (field.annotation, field)
        for mark in field.metadata:
            if isinstance(mark, Ends):
                fields[f"{name}_low"] = (float, Field(description=f"Lower end of its {mark.interval}."))
                fields[f"{name}_high"] = (float, Field(description=f"Upper end of its {mark.interval}."))
    made = create_model(row.__name__, __base__=TableRow, __module__=row.__module__, __doc__=row.__doc__, **fields)
    return cast("type[Row]", made)
