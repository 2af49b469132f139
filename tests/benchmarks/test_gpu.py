"""The benchmark for machines with a GPU, on tiny models of the same architectures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
ABSENT = ("snakemake", "wordfreq", "simplemma", "gguf", "typer", "pandas")
"""Packages of the pipeline that machines with a GPU need not have."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("gpu")
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not to be needed')\n")
    start = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = {str(SCRIPT)!r}"
    program = f"{start}; sys.path.insert(0, {str(SCRIPT.parent)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    file = folder / "figures.json"
    command = [sys.executable, "-c", program, "--tiny", "--json", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: list[dict[str, object]] = json.loads(file.read_text())["rows"]
    return found


def test_every_model_and_precision_is_evaluated_and_trained(rows: list[dict[str, object]]) -> None:
    measured = {(row["model"], row["precision"], row["task"]) for row in rows}
    assert len(measured) == 3 * 2 * 2
    assert [row for row in rows if row["note"]] == []


def test_the_share_of_useful_work_is_one(rows: list[dict[str, object]]) -> None:
    for row in rows:
        share = row["of_measured"]
        assert isinstance(share, float)
        assert 0 < share < 1.5
