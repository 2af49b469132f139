"""The list of deliberate bugs that `make mutants` tries fits the code as it is."""

import ast
from pathlib import Path

import pytest

from mutant_list import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent
AREAS = {
    "tokenisation",
    "probabilities",
    "scores",
    "losses",
    "targets",
    "statistics",
    "specifications",
    "checkpoints",
    "provenance",
    "tables",
    "report",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_can_still_be_made(mutant: Mutant) -> None:
    source = mutant.file_in(ROOT).read_text()
    broken = source.replace(mutant.old, mutant.new)
    lines = zip(source.splitlines(), broken.splitlines(), strict=True)
    assert sum(before != after for before, after in lines) == 1
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
    assert mutant.nearest_in(ROOT)


def test_bugs_are_spread_over_the_program() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) == 20
    assert {mutant.area for mutant in MUTANTS} == AREAS
