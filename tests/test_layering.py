import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import outctl

SOURCE = Path(outctl.__file__).parent

BOTTOM = {"config", "errors", "machine", "pipeline", "storage"}
"""The machinery and the configuration: used everywhere; they know each other, and nothing of the science."""
LAYERS = [
    {"metrics"},
    {"models", "tasks"},
    {"inference"},
    {"evaluation"},
    {"finetune"},
    {"results"},
    {"report"},
    {"exchange"},
    {"stages"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up. Everything above the machinery and below `exchange` is science."""
SCIENCE = {"metrics", "models", "tasks", "inference", "evaluation", "finetune", "results", "report"}
EXCEPTIONS = {
    # A program that nothing imports: it writes the schema of templates beside those of the configuration.
    "config.schemas": {"tasks.templates"},
    # A program of its own too: what the doctor has compute in another process, with what jobs load models with.
    "machine.compute_probe": {"models.loading"},
}
"""Modules of the machinery that import something above it."""
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCE.rglob("*.py")}


def imported(module: str) -> set[str]:
    """Modules of the package that a module imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "outctl":
            inside = (node.module or "").removeprefix("outctl").removeprefix(".")
            for alias in node.names:
                below = f"{inside}.{alias.name}".removeprefix(".")
                found.add(below if below in MODULES else inside)
    return found


def part(module: str) -> str:
    return module.partition(".")[0]


PARTS = {part(module) for module in MODULES if module}


def test_every_part_of_the_package_has_its_place():
    assert BOTTOM | set(RANK) == PARTS
    assert set(EXCEPTIONS) <= set(MODULES)


@pytest.mark.parametrize("importer", sorted(PARTS - BOTTOM))
def test_imports_point_one_way(importer):
    for module in MODULES:
        if part(module) == importer:
            for target in imported(module):
                other = part(target)
                assert other in BOTTOM or other == importer or RANK[other] < RANK[importer], f"{module} -> {target}"


@pytest.mark.parametrize("importer", sorted(BOTTOM))
def test_the_machinery_knows_nothing_of_science_and_stages(importer):
    above = {
        module: found
        for module in MODULES
        if part(module) == importer and (found := {target for target in imported(module) if part(target) not in BOTTOM})
    }
    assert above == {module: found for module, found in EXCEPTIONS.items() if part(module) == importer}


@pytest.mark.parametrize("importer", sorted(SCIENCE))
def test_science_knows_nothing_of_the_pipeline(importer):
    found = {module: imported(module) for module in MODULES if part(module) == importer}
    assert {module: targets for module, targets in found.items() if "pipeline" in map(part, targets)} == {}


def test_foundations_stand_alone():
    foundations = ("config.section", "metrics.divergences", "errors", "pipeline.fingerprint", "config.strict_yaml")
    assert {module: imported(module) for module in foundations} == {module: set() for module in foundations}


def test_no_module_imports_itself_through_others():
    order = list(TopologicalSorter({module: imported(module) for module in MODULES}).static_order())
    assert order.index("config.experiment") < order.index("pipeline.plan") < order.index("cli.main")


def test_packages_hold_nothing_but_modules():
    for path in SOURCE.rglob("__init__.py"):
        assert [type(statement) for statement in ast.parse(path.read_text()).body] == [ast.Expr], path


def test_only_the_command_line_reads_arguments():
    readers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "argv"
    }
    assert readers <= {"cli.main", "config.schemas"}


def test_planning_needs_none_of_the_heavy_libraries():
    program = "import sys, outctl.cli.main, outctl.machine.estimates; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "outctl.pipeline.plan" in loaded
    assert {"torch", "transformers", "pandas", "scipy", "altair", "wordfreq"}.isdisjoint(loaded)
