"""Tables for the terminal."""

import pytest
from rich.console import Console

from outctl.results.console import answers_table


@pytest.mark.parametrize(
    ("computed", "shown"),
    [
        ("float32", ["0.7123", "1.235e-05", "0.2876", "float32, 4 digits"]),
        ("bfloat16", ["0.71", "1.2e-05", "0.29", "bfloat16, 2 digits"]),
    ],
)
def test_probabilities_have_the_digits_that_their_precision_gives_them(computed: str, shown: list[str]) -> None:
    console = Console(width=100, record=True)
    console.print(answers_table({"ark": 0.712345678, "atom": 1.2345678e-05}, computed))
    text = console.export_text()
    assert [part for part in shown if part not in text] == []


def test_what_is_left_of_a_sum_that_rounding_takes_above_one_is_zero() -> None:
    console = Console(width=100, record=True)
    console.print(answers_table({"ark": 0.6000002, "atom": 0.4}, "float32"))
    (row,) = [line for line in console.export_text().splitlines() if "anything else" in line]
    assert row.split("│")[2].strip() == "0"
