"""Templates are programs of a user's: whatever they do ends in text or in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakage import REPEATABLE, mistake_of
from outctl.tasks.templates import render

PIECES = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "seed",
    "percents",
    "[0]",
    "|",
    "(",
    ")",
    ".",
    "for",
    "in",
    "endfor",
    "if",
    "'",
]
PIECES += [
    "range(9)",
    "%",
    "~",
    "+",
    "*",
    "/",
    "0",
    "xmlattr",
    "tojson",
    "sort",
    "join",
    "format",
    "\n",
    "é",
    "\x00",
    "__class__",
]


def check(text: str) -> None:
    message = mistake_of(lambda: render(text, seed=1, percents=[70, 30]))
    assert message is None or message.startswith("prompt template ")


@REPEATABLE
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
def test_any_template_renders_or_ends_in_one_line(text: str):
    check(text)


@REPEATABLE
@given(st.lists(st.sampled_from(PIECES[6:]), max_size=6).map(lambda pieces: "{{ " + " ".join(pieces) + " }}"))
def test_any_expression_renders_or_ends_in_one_line(text: str):
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ seed | xmlattr }}",
        "{{ 'x' * 10 ** 18 }}",
        "{{ '%d' % 'x' }}",
        "{{ '{0.a}'.format(seed) }}",
        "{% for i in percents %}" * 30 + "{% endfor %}" * 30,
        "(" * 5000,
        "{{ " + "(" * 5000,
        "{{ " + "-" * 5000 + "1 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ seed.to_bytes(0) }}",
    ],
    ids=range(10),
)
def test_a_template_that_fails_in_its_own_way_ends_in_one_line(text: str):
    check(text)
