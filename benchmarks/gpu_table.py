"""The figures of `gpu.py` as rows, and their table."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """Figures of one model, precision, task and size; `note` says why there are none."""

    model: str
    precision: str
    task: str
    size: int
    per_second: float | None = None
    peak_gb: float | None = None
    of_measured: float | None = None
    of_nominal: float | None = None
    note: str = ""


HEADER = """| model | precision | task | size | a second | peak memory | of measured peak | of nominal peak |
|---|---|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """A row of the table."""
    unit = "tokens a pass" if row.task == "evaluation" else "samples a step"
    cells = [row.model, row.precision, row.task, f"{row.size} {unit}" if row.size else ""]
    if row.note:
        return f"| {' | '.join([*cells, row.note])} | | | |"
    things = "prompts" if row.task == "evaluation" else "samples"
    cells.append(f"{row.per_second:.1f} {things}")
    cells.append("" if row.peak_gb is None else f"{row.peak_gb:.1f} GB")
    cells += ["" if share is None else f"{100 * share:.0f} %" for share in (row.of_measured, row.of_nominal)]
    return f"| {' | '.join(cells)} |"


def table(result: dict[str, Any]) -> str:
    """The table of a run's figures."""
    lines = [line(Row(**row)) for row in result["rows"]]
    peak = f"Peak: a bfloat16 matrix product ran at {result['peak']['measured'] / 1e12:.3g} TFLOP/s"
    nominal = result["peak"]["nominal"]
    peak += f"; nominal are {nominal / 1e12:.0f}." if nominal else "."
    return "\n".join([HEADER, *lines, "", peak])
