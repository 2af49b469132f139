"""The benchmark for machines with a GPU, on tiny models of the same architectures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
ABSENT = ("snakemake", "wordfreq", "simplemma", "gguf", "typer", "pandas", "datasets")
"""Packages of the pipeline that machines with a GPU need not have, and one that brings some of them."""
WITHOUT_PACKAGES = """
import runpy, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
sys.path.insert(0, {folder!r})
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""
"""Runs the benchmark as if these packages were not installed: transformers looks for some before it imports them."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("gpu")
    program = WITHOUT_PACKAGES.format(absent=ABSENT, folder=str(SCRIPT.parent), script=str(SCRIPT))
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
