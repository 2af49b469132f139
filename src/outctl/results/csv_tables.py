"""Tables as CSV files."""

from typing import Any

import pandas as pd

from outctl.errors import printable


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV: ten decimals, undefined numbers empty, one kind of line end on every system, and no formulas."""
    written = table.copy()
    for name in table:
        if pd.api.types.is_float_dtype(table[name]):
            # Adding zero turns the -0.0 that rounding leaves into 0.0.
            written[name] = table[name].round(10) + 0.0
        else:
            written[name] = table[name].map(_as_text)
    return str(written.rename(columns=_as_text).to_csv(index=False, lineterminator="\n"))


def _as_text(cell: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: an apostrophe in front of a formula, escapes of control characters."""
    if not isinstance(cell, str):
        return cell
    return printable(f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell)
