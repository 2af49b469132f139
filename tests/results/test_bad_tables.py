"""Tables are safe to open in a spreadsheet and in a terminal, whatever text stands in them."""

import csv
import io
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from breakage import REPEATABLE, TEXTS, mistake_of
from outctl.errors import printable
from outctl.pipeline.layout import Layout
from outctl.results.console import print_summary
from outctl.results.csv_tables import to_csv

ROW = {
    "model": "small",
    "variant": "tuned",
    "case_type": "given",
    "avg_tvd": -0.1,
    "avg_tvd_low": 0.05,
    "avg_tvd_high": 0.2,
    "accuracy": 0.5,
    "control_slope": -0.25,
    "within_slope": 0.5,
    "avg_mass": 1.0,
}
FORMULAS = st.sampled_from("=+-@\t\r\n").flatmap(lambda start: st.text(max_size=5).map(lambda rest: start + rest))
CELLS = (TEXTS | FORMULAS).filter(lambda text: "\ud800" not in text)


@REPEATABLE
@given(st.lists(st.tuples(CELLS, st.floats(-1, 1) | st.just(math.nan), st.integers()), min_size=1, max_size=4))
@example([("=cmd|'/C calc'!A0", -0.5, -3), ("-2+3", -1e-12, 0), ("@SUM(1)", math.nan, 5)])
def test_no_text_of_a_table_is_a_formula_and_no_number_is_altered(rows: list[tuple[str, float, int]]):
    table = pd.DataFrame(rows, columns=["=name", "value", "count"], dtype=object).astype({"value": float})
    header, *lines = csv.reader(io.StringIO(to_csv(table), newline=""))
    assert header == ["'=name", "value", "count"]
    for (text, value, count), (shown, number, whole) in zip(rows, lines, strict=True):
        assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert shown in (printable(text), printable(f"'{text}"))
        assert number == "" if math.isnan(value) else abs(float(number) - value) <= 1e-10
        assert int(whole) == count


def test_text_that_is_no_formula_stays_as_it_is():
    table = pd.DataFrame({"model": ["a=b", "1-2", "'=x", None], "value": [-1.5, 2.0, 0.0, -0.0]})
    assert to_csv(table) == "model,value\na=b,-1.5\n1-2,2.0\n'=x,0.0\n,0.0\n"


def summary(folder: Path, content: bytes) -> str | None:
    layout = Layout(folder, folder / "models")
    layout.case_table().write_bytes(content)
    return mistake_of(
        lambda: print_summary(Console(file=io.StringIO(), width=120, markup=False), layout.case_table(), {})
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"a,b\n1,2\n",
        b"\x00" * 100,
        to_csv(pd.DataFrame([ROW | {"avg_tvd": "high"}])).encode(),
        to_csv(pd.DataFrame([ROW]).drop(columns="avg_mass")).encode(),
    ],
    ids=range(7),
)
def test_a_table_that_is_none_is_refused_with_its_name(tmp_path: Path, content: bytes):
    message = summary(tmp_path, content)
    assert message is not None
    assert message.startswith(f"{tmp_path}/output_control_simple_metrics.csv: no table of results (")


def test_a_table_is_printed(tmp_path: Path):
    assert summary(tmp_path, to_csv(pd.DataFrame([ROW])).encode()) is None
