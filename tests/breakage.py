"""Ways to break what is valid: a place in it and what goes wrong there, for tests that throw bad input at the program."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from outctl.errors import LONGEST, OutctlError

Key = tuple[str | int, ...]

# The same examples every time: a test that passes here passes everywhere. How many is up to the profile.
REPEATABLE = settings(derandomize=True, deadline=None)

NASTY_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../escaped",
    "/escaped",
    "a/b",
    "a\\b",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x00b",
    "a\x1b[31mb",
    "a\u2028b",
    "a\u202eb",
    "\ufeff",
    "\ud800",
    "é",
    "e\u0301",
    "🙂",
    "-rf",
    "--help",
    "~",
    "{model}",
    "{",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "'",
    '"',
    "=1+1",
    "@SUM(A1)",
    "[/bold]",
    "CON",
    "a.",
    "nul.",
    ".specs",
    "reference",
    "Baseline",
    "a.provenance",
    "x" * 101,
    "x" * 300,
    "x" * 100_000,
)
TEXTS = st.sampled_from(NASTY_TEXTS) | st.text(max_size=20)
NUMBERS = (
    st.integers()
    | st.sampled_from([10**30, -(10**30), 10**90, 2**63, 0, -1, True, False])
    | st.floats()
    | st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -0.0])
)
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
ALIENS = st.sampled_from([b"bytes", datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4)])
"""Values of YAML that no key takes."""


@dataclass(frozen=True)
class Broken:
    """Data with a mistake: where it is, and whether the message must name just that place."""

    data: Any
    key: Key
    exact: bool


def places(data: Any, key: Key = ()) -> list[Key]:
    """Every key of nested data."""
    if isinstance(data, dict):
        below = [places(value, (*key, name)) for name, value in data.items()]
    elif isinstance(data, list):
        below = [places(value, (*key, position)) for position, value in enumerate(data)]
    else:
        below = []
    return [*([key] if key else []), *(place for found in below for place in found)]


def unshared(data: Any) -> Any:
    """A copy in which no part stands in two places."""
    if isinstance(data, dict):
        return {name: unshared(value) for name, value in data.items()}
    return [unshared(value) for value in data] if isinstance(data, list) else data


def at(data: Any, key: Key) -> Any:
    for element in key:
        data = data[element]
    return data


@st.composite
def broken(draw: st.DrawFn, valid: Any, aliens: st.SearchStrategy[Any] = ALIENS) -> Broken:
    """Valid data, broken at a random place in a random way."""
    data = unshared(valid)
    key = draw(st.sampled_from(places(data)))
    parent, last = at(data, key[:-1]), key[-1]
    ways = ["alien", "replaced", "removed", "listed", "shortened"]
    match draw(st.sampled_from(ways + ["renamed", "added"] * isinstance(parent, dict))):
        case "alien":
            parent[last] = draw(aliens)
            return Broken(data, key, True)
        case "replaced":
            parent[last] = draw(VALUES)
        case "removed":
            del parent[last]
        case "listed":
            parent[last] = [parent[last], parent[last]]
        case "shortened":
            parent[last] = type(parent[last])()
        case "renamed":
            parent[draw(TEXTS)] = parent.pop(last)
        case "added":
            parent[draw(TEXTS | NUMBERS)] = draw(VALUES)
    return Broken(data, key, False)


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file of which one piece is cut out, doubled, or replaced by other bytes."""
    start = draw(st.integers(0, len(valid)))
    end = min(len(valid), start + draw(st.integers(0, 30)))
    pieces = [
        b"",
        valid[start:end] * 2,
        b"\xef\xbb\xbf",
        b"\xff",
        b"\x00",
        b"\t",
        b"&a [*a]",
        b"NaN",
        b"1e999",
        b'"\\ud800"',
    ]
    return valid[:start] + draw(st.sampled_from(pieces) | st.binary(max_size=8)) + valid[end:]


def mistake_of(attempt: Callable[[], object]) -> str | None:
    """What the user is told, one line that any terminal shows; None if nothing is wrong. Other exceptions pass."""
    try:
        attempt()
    except OutctlError as error:
        message = str(error)
    else:
        return None
    assert message.isprintable(), message
    assert len(message) < 2 * LONGEST
    return message
