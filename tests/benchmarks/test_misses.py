"""What single answers miss by, on records whose misses are known."""

import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from outctl.evaluation.records import Record, write_records

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "misses.py"


def share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def record(variant: str, number: int, asked: float, given: float, mass: float = 0.8) -> Record:
    return Record(
        sample_id=f"given-eval-{number:05d}",
        case="given",
        model="tiny",
        variant=variant,
        words=["ark", "atom"],
        target=[asked, 1 - asked],
        tolerance=0.1,
        probabilities=[mass * given, mass * (1 - given)],
        other_mass=1 - mass,
        tvd=0.5,
        within_tolerance=False,
        conditional_tvd=abs(given - asked),
        tvd_sad=None,
        within_tolerance_sad=None,
        top_tokens=[],
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Variants whose answers are a line in log-odds and misses that are shared, opposite or of their own."""
    draw = random.Random(0)
    asked = [share(draw.uniform(-3, 3)) for _ in range(400)]
    shared, own = ([draw.gauss(0, 1) for _ in asked] for _ in range(2))
    variants = {
        "exact": (1.0, [0.0] * len(asked)),
        "one": (2.0, shared),
        "alike": (0.5, [3 * miss for miss in shared]),
        "opposite": (0.0, [-miss for miss in shared]),
        "another": (1.0, own),
    }
    for variant, (slope, misses) in variants.items():
        file = tmp_path / "evaluations" / "tiny" / variant / "given.jsonl"
        file.parent.mkdir(parents=True)
        records = [
            record(variant, number, target, share(slope * math.log(target / (1 - target)) + miss))
            for number, (target, miss) in enumerate(zip(asked, misses, strict=True))
        ]
        # No share of no mass has log-odds.
        write_records(file, [*records, record(variant, len(asked), 0.5, 1.0)])
    return tmp_path


def run(results: Path, *variants: str, case: str = "given") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), str(results), case, *variants, "--model", "tiny"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(printed: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()[2:]]
    return {name: values for name, *values in cells}


def test_the_line_and_what_is_left_of_it(results: Path) -> None:
    found = rows(run(results, "exact", "one").stdout)
    alike = [f"{value} ({value} .. {value})" for value in ("1.00", "0.00", "0.000", "0.000")]
    assert found["exact"] == [*alike, ""]
    numbers = [list(map(float, re.findall(r"\d\.\d+", cell))) for cell in found["one"][:4]]
    assert all(low < value < high for value, low, high in numbers)
    slope, residual, missed, without = (value for value, _, _ in numbers)
    # The width of a normal standard deviation's interval, of 400 questions.
    assert numbers[1][2] - numbers[1][1] == pytest.approx(2 * 1.96 / math.sqrt(2 * 400), rel=0.2)
    assert slope == pytest.approx(2, abs=0.1)
    assert residual == pytest.approx(1, abs=0.1)
    assert missed > without > 0.05


def test_whether_variants_miss_alike(results: Path) -> None:
    found = rows(run(results, "one", "alike", "opposite", "another").stdout)
    assert found["alike"][-1] == "1.00 (1.00 .. 1.00)"
    assert found["opposite"][-1] == "-1.00 (-1.00 .. -1.00)"
    low, high = map(float, re.findall(r"-?\d\.\d+", found["another"][-1])[1:])
    assert low < 0 < high
    # The width of Fisher's interval around no correlation of 400 questions.
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(400 - 3), abs=0.02)


def test_what_has_no_line_is_one_line(results: Path) -> None:
    found = run(results, "one", case="absent")
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert "absent.jsonl: no such file" in found.stderr
    file = results / "evaluations" / "tiny" / "single" / "given.jsonl"
    file.parent.mkdir()
    write_records(file, [record("single", number, 0.5, 0.4) for number in range(3)])
    found = run(results, "single")
    assert found.returncode == 1
    assert found.stderr == "given: fewer than two different targets are left to fit a line to\n"
