import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ENVIRONMENTS = sorted((ROOT / "src/outctl/workflow/envs").glob("*.yaml"))
WORKFLOW_ONLY = {"snakemake", "snakemake-executor-plugin-slurm", "snakemake-interface-logger-plugins"}
"""What runs the jobs and is not needed inside them."""
CONDA_NAMES = {"pytorch-cpu": "torch", "pytorch-gpu": "torch"}


def requirements(*groups: list[str]) -> list[Requirement]:
    return [Requirement(text) for group in groups for text in group]


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [line.split("==") for line in lines]
    found = {canonicalize_name(name): version for name, version in pins}
    assert len(found) == len(lines), "a package is pinned twice"
    return found


def pins(environment: Path) -> tuple[dict[str, str], set[str]]:
    """Exact versions of an environment, and what it takes in any version."""
    content = yaml.safe_load(environment.read_text())["dependencies"]
    exact, loose = {}, set()
    for entry in content:
        lines = [(line, "==") for line in entry["pip"]] if isinstance(entry, dict) else [(entry, "=")]
        for line, sign in lines:
            name, _, version = line.partition(sign)
            name = canonicalize_name(CONDA_NAMES.get(name, name))
            if version:
                assert str(Version(version)) == version
                exact[name] = version
            else:
                loose.add(name)
    return exact, loose


def test_version_of_the_project_parses():
    assert str(Version(PROJECT["version"])) == PROJECT["version"]


def test_every_constraint_is_an_exact_version():
    for name, version in constraints().items():
        assert str(Version(version)), name


def test_constraints_pin_every_direct_dependency_within_its_bounds():
    known = constraints()
    for requirement in requirements(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        name = canonicalize_name(requirement.name)
        if name == PROJECT["name"]:
            continue
        assert requirement.specifier.contains(known[name]), requirement


def test_uv_is_given_the_same_constraints():
    found = [text.split("==") for text in PYPROJECT["tool"]["uv"]["constraint-dependencies"]]
    assert {canonicalize_name(name): version for name, version in found} == constraints()


def test_there_is_an_environment_with_and_one_without_a_gpu():
    assert [path.stem for path in ENVIRONMENTS] == ["cpu", "gpu"]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_versions_of_an_environment_are_those_of_the_constraints(path):
    exact, _ = pins(path)
    assert SpecifierSet(PROJECT["requires-python"]).contains(exact.pop("python"))
    known = constraints()
    assert exact == {name: known.get(name) for name in exact}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environment_holds_just_the_dependencies_of_a_job(path):
    exact, loose = pins(path)
    needed = {canonicalize_name(requirement.name) for requirement in requirements(PROJECT["dependencies"])}
    assert loose == {"pip"}
    assert set(exact) - {"python"} == needed - WORKFLOW_ONLY - {"pip"}
