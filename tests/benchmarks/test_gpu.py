"""The benchmark for machines with a GPU, on tiny models of the same architectures."""

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
NAMED = ("torch", "transformers", "peft", "accelerate", "pydantic", "bitsandbytes")
"""Packages that machines with a GPU need for it; they bring what they need themselves."""
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


def brought_by(packages: Iterable[str]) -> set[str]:
    """Installed packages that come with these, themselves included, by their normalised names."""
    found: set[str] = set()
    left = {canonicalize_name(name) for name in packages}
    while left:
        name = left.pop()
        found.add(name)
        try:
            requirements = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        needed = [item.name for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
        left |= {canonicalize_name(name) for name in needed} - found
    return found


def absent() -> set[str]:
    """Modules of installed packages that a machine with `NAMED` alone would not have."""
    brought = brought_by(NAMED) | {"outctl"}
    owners = packages_distributions().items()
    return {module for module, names in owners if brought.isdisjoint(canonicalize_name(name) for name in names)}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("gpu")
    program = WITHOUT_PACKAGES.format(absent=absent(), folder=str(SCRIPT.parent), script=str(SCRIPT))
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


def test_packages_of_the_pipeline_were_hidden() -> None:
    assert {"snakemake", "pandas", "scipy", "tensorboard", "wordfreq"} <= absent()


def test_the_share_of_useful_work_is_one(rows: list[dict[str, object]]) -> None:
    for row in rows:
        share = row["of_measured"]
        assert isinstance(share, float)
        assert 0 < share < 1.5
