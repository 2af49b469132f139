"""Broken sample files in bulk: one line that names file, line and key, or samples that hold together."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from breakage import REPEATABLE, Broken, broken, damaged, mistake_of
from outctl.errors import OutctlError
from outctl.tasks.samples import Sample, read_samples

GIVEN: dict[str, Any] = {
    "sample_id": "case-eval-00000",
    "case": "case",
    "messages": [{"role": "user", "content": "Say one word: 70% ark, 30% été"}],
    "words": ["ark", "été"],
    "target": [0.7, 0.3],
    "tolerance": 0.1,
    "seed": 5,
    "max_zipf": 3.5,
}
ROWS = [GIVEN | {"sample_id": f"case-eval-{number:05d}"} for number in range(3)]
# A list of a list is of no key's type, and neither is a section that no key has.
ALIENS = st.sampled_from([[[]], {"unknown": 1}])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples") / "samples.jsonl"


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def mistake_in(file: Path, content: str | bytes) -> str | None:
    """What the user is told; None if the file is read, and then its samples hold together."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = mistake_of(lambda: read_samples(file))
    if message is not None:
        assert message.startswith(str(file))
        return message.removeprefix(str(file))
    samples = read_samples(file)
    assert len({sample.sample_id for sample in samples}) == len(samples) > 0
    assert len({sample.case for sample in samples}) == 1
    for sample in samples:
        assert abs(sum(sample.target) - 1) < 1e-5
        assert all(0 <= share <= 1 for share in sample.target)
        assert sample.words is None or len(set(sample.words)) == len(sample.target)
    return None


def test_the_samples_to_be_broken_are_valid(file: Path):
    assert mistake_in(file, lines(ROWS)) is None


@REPEATABLE
@given(broken(ROWS, ALIENS))
@example(Broken([GIVEN | {"target": [0.7, [[]]]}], (0, "target", 1), True))
def test_a_broken_row_is_refused_with_its_line_and_key_or_is_valid(file: Path, case: Broken):
    message = mistake_in(file, lines(case.data))
    if case.exact:
        assert message is not None
        expected = ".".join(map(str, case.key[1:]))
        assert message.startswith(f" line {int(case.key[0]) + 1}: {expected}".rstrip(": ")), message
    assert message is None or message.startswith((" line ", ": holds no samples")), message


@REPEATABLE
@given(damaged(lines(ROWS).encode()))
def test_a_damaged_file_is_refused_or_holds_together(file: Path, content: bytes):
    message = mistake_in(file, content)
    assert message is None or message.startswith((" line ", ": cannot be read")), message


CHANGES = [
    ({"target": [0.7, 0.4]}, " line 2: target: the shares sum to 1.1"),
    ({"target": [1.3, -0.3]}, " line 2: target.0: Input should be less than or equal to 1"),
    ({"target": [0.7, -0.3]}, " line 2: target.1: Input should be greater than or equal to 0"),
    ({"target": [float("nan"), 0.3]}, " line 2: not valid JSON (NaN is no number of JSON)"),
    ({"target": [float("inf"), 0.3]}, " line 2: not valid JSON (Infinity is no number of JSON)"),
    ({"target": ["0.7", 0.3]}, " line 2: target.0: Input should be a valid number"),
    ({"target": [True, 0.3]}, " line 2: target.0: Input should be a valid number"),
    ({"target": [0.5, 0.3, 0.2]}, " line 2: words: 2 of them for 3 shares"),
    ({"words": ["ark", "ark"]}, " line 2: words: one of them is given twice"),
    ({"words": ["ark", ""]}, " line 2: words.1: String should have at least 1 character"),
    ({"answers": [["ark"]]}, " line 2: answers: 1 of them for 2 words"),
    ({"messages": []}, " line 2: messages: List should have at least 1 item"),
    ({"messages": [{"role": "robot", "content": "a"}]}, " line 2: messages.0.role: Input should be"),
    ({"tolerance": 0}, " line 2: tolerance: Input should be greater than 0"),
    ({"seed": 1.5}, " line 2: seed: Input should be a valid integer"),
    ({"seed": "5"}, " line 2: seed: Input should be a valid integer"),
    ({"max_zipf": 10**400}, " line 2: max_zipf: "),
    ({"sample_id": "case-eval-00000"}, " line 2: sample_id: 'case-eval-00000' stands in line 1 too"),
    ({"case": "other"}, " line 2: case: 'other' differs from 'case' of line 1"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, " line 2: not valid JSON ("),
    ({"x" * 100_000: 1}, " line 2: xxx"),
    ({"a\nb": 1}, " line 2: a\\nb: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("change", "start"), CHANGES, ids=[start for _, start in CHANGES])
def test_a_wrong_value_is_named_with_its_line(file: Path, change: dict[str, Any], start: str):
    message = mistake_in(file, lines([ROWS[0], ROWS[1] | change, ROWS[2]]))
    assert message is not None
    assert message.startswith(start), message
    assert "again" in message


TEXTS = [
    ("", ": holds no samples"),
    ("\n", " line 1: not valid JSON"),
    ("null\n", " line 1: Input should be a valid dictionary"),
    ("[]\n", " line 1: Input should be a valid dictionary"),
    (lines(ROWS)[:-10], " line 3: not valid JSON"),
    (lines(ROWS[:1]) + "[" * 200_000, " line 2: not valid JSON"),
    (lines(ROWS[:1]) + "1" * 10_000, " line 2: not valid JSON"),
    (lines(ROWS)[:-2] + ', "max_zipf": 1e999}', " line 3: max_zipf: Input should be a finite number"),
    ("\ufeff" + lines(ROWS), " line 1: not valid JSON"),
]


@pytest.mark.parametrize(("text", "start"), TEXTS, ids=range(len(TEXTS)))
def test_a_file_of_other_lines_is_refused_with_the_first(file: Path, text: str, start: str):
    message = mistake_in(file, text)
    assert message is not None
    assert message.startswith(start), message


def test_a_huge_line_is_read(file: Path):
    text = "ark " * 1_000_000
    assert mistake_in(file, lines([GIVEN | {"messages": [{"role": "user", "content": text}]}])) is None
    (sample,) = read_samples(file)
    assert isinstance(sample, Sample)
    assert sample.messages[0]["content"] == text


def test_a_directory_is_no_file(tmp_path: Path):
    with pytest.raises(OutctlError, match="cannot be read"):
        read_samples(tmp_path)
