"""Broken record files in bulk: one line that names file, line and key, or records that hold together."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakage import REPEATABLE, Broken, broken, damaged, mistake_of
from outctl.evaluation.records import Record, read_records, write_records

RECORD: dict[str, Any] = {
    "sample_id": "case-eval-00000",
    "case": "case",
    "model": "small",
    "variant": "baseline",
    "words": ["ark", "été"],
    "target": [0.7, 0.3],
    "tolerance": 0.1,
    "probabilities": [0.5, 0.25],
    "other_mass": 0.25,
    "tvd": 0.25,
    "within_tolerance": False,
    "conditional_tvd": 0.03,
    "tvd_sad": 0.1,
    "within_tolerance_sad": True,
    "words_valid": None,
    "unresolved_mass": 0.0,
    "top_tokens": [{"text": "ark", "probability": 0.5}, {"text": "=1+1", "probability": 0.25}],
}
ROWS = [RECORD | {"sample_id": f"case-eval-{number:05d}"} for number in range(3)]
ALIENS = st.sampled_from([[[]], {"unknown": 1}])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "records.jsonl"


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def mistake_in(file: Path, content: str | bytes) -> str | None:
    """What the user is told; None if the file is read, and then its records hold together."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = mistake_of(lambda: read_records(file))
    if message is not None:
        assert message.startswith(str(file))
        return message.removeprefix(str(file))
    records = read_records(file)
    assert len({record.sample_id for record in records}) == len(records) > 0
    assert len({(record.model, record.variant, record.case) for record in records}) == 1
    for record in records:
        assert len(record.words) == len(record.probabilities) == len(record.target)
        assert abs(sum(record.probabilities) + record.other_mass - 1) < 0.01
        assert all(
            0 <= value <= 1.01 for value in (record.tvd, record.other_mass, *record.target, *record.probabilities)
        )
    return None


def test_the_records_to_be_broken_are_valid_and_read_back(file: Path):
    assert mistake_in(file, lines(ROWS)) is None
    records = read_records(file)
    write_records(file, records)
    assert read_records(file) == records == [Record.model_validate(row) for row in ROWS]


@REPEATABLE
@given(broken(ROWS, ALIENS))
def test_a_broken_row_is_refused_with_its_line_and_key_or_is_valid(file: Path, case: Broken):
    message = mistake_in(file, lines(case.data))
    if case.exact:
        assert message is not None
        expected = ".".join(map(str, case.key[1:]))
        assert message.startswith(f" line {int(case.key[0]) + 1}: {expected}".rstrip(": ")), message
    assert message is None or message.startswith((" line ", ": holds no records")), message


@REPEATABLE
@given(damaged(lines(ROWS).encode()))
def test_a_damaged_file_is_refused_or_holds_together(file: Path, content: bytes):
    message = mistake_in(file, content)
    assert message is None or message.startswith((" line ", ": cannot be read")), message


CHANGES = [
    ({"probabilities": [1.5, 0.2]}, " line 2: probabilities.0: Input should be less than or equal to 1"),
    ({"probabilities": [-0.5, 0.2]}, " line 2: probabilities.0: Input should be greater than or equal to 0"),
    ({"probabilities": [0.9, 0.9]}, " line 2: probabilities: with other_mass they sum to 2.05"),
    ({"probabilities": [0.75]}, " line 2: probabilities: 1 of them for 2 shares"),
    ({"words": ["ark"]}, " line 2: words: 1 of them for 2 shares"),
    ({"target": [0.7, 0.7]}, " line 2: target: the shares sum to 1.4"),
    ({"tvd": float("nan")}, " line 2: not valid JSON (NaN is no number of JSON)"),
    ({"tvd": 1.5}, " line 2: tvd: Input should be less than or equal to 1"),
    ({"tvd": None}, " line 2: tvd: Input should be a valid number"),
    ({"within_tolerance": 1}, " line 2: within_tolerance: Input should be a valid boolean"),
    ({"top_tokens": [{"text": "a"}]}, " line 2: top_tokens.0.probability: Field required"),
    ({"sample_id": "case-eval-00000"}, " line 2: sample_id: 'case-eval-00000' stands in line 1 too"),
    ({"case": "other"}, " line 2: case: 'other' differs from 'case' of line 1"),
    ({"model": "other"}, " line 2: model: 'other' differs from 'small' of line 1"),
    ({"variant": "tuned"}, " line 2: variant: 'tuned' differs from 'baseline' of line 1"),
]


@pytest.mark.parametrize(("change", "start"), CHANGES, ids=[start for _, start in CHANGES])
def test_a_wrong_value_is_named_with_its_line(file: Path, change: dict[str, Any], start: str):
    message = mistake_in(file, lines([ROWS[0], ROWS[1] | change, ROWS[2]]))
    assert message is not None
    assert message.startswith(start), message
    assert message.endswith("again")


def test_a_file_without_records_is_refused(file: Path):
    assert mistake_in(file, "") == ": holds no records; run the evaluation again"


def test_a_cut_off_file_is_refused_with_its_last_line(file: Path):
    assert (mistake_in(file, lines(ROWS)[:-5]) or "").startswith(" line 3: not valid JSON")
