"""Tables as CSV files."""

import re
from typing import Any

import pandas as pd

from outctl.errors import printable

P_VALUES = re.compile(r"(^|_)p(_value)?(_holm)?$")
"""Names of columns of p-values, which may be as small as one likes: `tvd_p`, `p_value_holm`."""


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV: undefined numbers empty, one kind of line end on every system, and no formulas.

    Numbers have ten decimals, p-values six significant digits.
    """
    written = table.copy()
    for name in table:
        if P_VALUES.search(str(name)):
            written[name] = [float(f"{value:.6g}") for value in table[name]]
        elif pd.api.types.is_float_dtype(table[name]):
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
