import json
from typing import Any

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
