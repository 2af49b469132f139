"""Strict YAML agrees with plain YAML wherever it does not refuse."""

import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from breakage import REPEATABLE
from outctl.config.strict_yaml import DEEPEST, MOST_NODES, load_strictly

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates() | st.binary()
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@REPEATABLE
@given(DATA, st.booleans())
def test_whatever_is_written_reads_as_plain_yaml_reads_it(data: Any, flow: bool):
    # A value that stands twice is written as an anchor and an alias.
    text = yaml.safe_dump([data, data], default_flow_style=flow, allow_unicode=True)
    assert load_strictly(text) == yaml.safe_load(text)


@REPEATABLE
@given(st.text(st.sampled_from("ab1.:-? \n{}[],&*!#|>'\"<=~%@\\t"), max_size=40))
def test_any_text_reads_as_plain_yaml_reads_it_or_is_refused(text: str):
    try:
        found = load_strictly(text)
    except yaml.YAMLError:
        return
    assert repr(found) == repr(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "a is given twice"),
        ("a: 1\n'a': 3", "a is given twice"),
        ("a: {b: [{c: 1, c: 2}]}", "a.b.0.c is given twice"),
        ("<<: {a: 1}\n<<: {b: 1}", "<< is given twice"),
        ("a: &a {b: *a}", "the alias at a.b refers to what it is part of"),
        ("[!!bool x]", "the text is no valid bool"),
        ("!!int ''", "the text is no valid int"),
        ("!!timestamp x", "the text is no valid timestamp"),
        ('"\\ud800"', "the text is no valid str"),
        (f"[{'0' * 101}]", "a number of 101 characters"),
        (f"{'[' * (DEEPEST + 1)}{']' * (DEEPEST + 1)}", f"nested more than {DEEPEST} levels deep"),
        (f"[{'a,' * MOST_NODES}]", f"the document holds more than {MOST_NODES} keys and values"),
        ("!!python/name:os.system x", "could not determine a constructor"),
    ],
    ids=range(13),
)
def test_what_would_be_misread_is_refused_with_its_place(text: str, problem: str):
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        load_strictly(text)
    assert str(caught.value.problem).startswith(problem)
    assert caught.value.problem_mark.line == text.count("\n")


@pytest.mark.slow
def test_what_is_near_a_limit_is_read():
    assert load_strictly(f"{'[' * DEEPEST}{']' * DEEPEST}")
    assert len(load_strictly(f"[{'a,' * (MOST_NODES - 1)}]")) == MOST_NODES - 1
    assert load_strictly("1" * 100) == int("1" * 100)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("base: &b {x: 1, y: 2}\nc: {<<: *b, x: 3}", {"base": {"x": 1, "y": 2}, "c": {"x": 3, "y": 2}}),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
        ("- {a: 1}\n- {a: 2}", [{"a": 1}, {"a": 2}]),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("\ufeffa: 2026-01-02", {"a": datetime.date(2026, 1, 2)}),
        ("", None),
    ],
)
def test_what_says_nothing_twice_is_read_as_ever(text: str, value: Any):
    assert load_strictly(text) == value == yaml.safe_load(text)
