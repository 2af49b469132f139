import json
from typing import Any

import pytest

from outctl.errors import OutctlError
from outctl.tasks.samples import Sample, read_samples, write_samples

ROW: dict[str, Any] = {
    "sample_id": "case-eval-00000",
    "case": "case",
    "messages": [{"role": "user", "content": "Say one word: 70% ark, 30% été"}],
    "words": ["ark", "été"],
    "answers": None,
    "target": [0.7, 0.3],
    "at_most": False,
    "free_messages": None,
    "tolerance": 0.1,
    "seed": 5,
    "max_zipf": None,
}


def test_samples_read_back_in_order(tmp_path):
    own = {**ROW, "sample_id": "case-eval-00001", "words": None, "max_zipf": 3.5}
    samples = [Sample.model_validate(row) for row in (ROW, own)]
    write_samples(tmp_path / "samples.jsonl", samples)
    assert read_samples(tmp_path / "samples.jsonl") == samples


def test_a_sample_is_one_line_with_every_key(tmp_path):
    write_samples(tmp_path / "samples.jsonl", [Sample.model_validate(ROW)])
    (line,) = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == ROW
    assert "été" in line


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ({"target": [1.0]}, "target", "at least 2 items"),
        ({"target": ["a", 0.5]}, "target.0", "valid number"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role", "'assistant'"),
        ({"words": "ark"}, "words", "list"),
        ({"answers": [["ark"]]}, "answers", "1 of them for 2 words"),
        ({"other": 1}, "other", "not permitted"),
    ],
)
def test_line_that_is_no_sample_is_named(tmp_path, change, key, text):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, {**ROW, **change})))
    with pytest.raises(OutctlError) as caught:
        read_samples(path)
    message = str(caught.value)
    assert message.startswith(f"{path} line 2: {key}: ")
    assert text in message
    assert message.endswith("; make the samples again")
    assert "\n" not in message


def test_missing_key_is_named(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({key: value for key, value in ROW.items() if key != "seed"}))
    with pytest.raises(OutctlError, match=r"line 1: seed: Field required"):
        read_samples(path)


def test_file_without_samples_is_an_error(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("")
    with pytest.raises(OutctlError, match="holds no samples"):
        read_samples(path)
