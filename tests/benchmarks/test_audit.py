"""The audit agrees with what the program writes, and notices what is changed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import ByHand
from in_process import evaluate, gather, train

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "audit.py"
CASES = {
    "given": {"kind": "given_words", "train_samples": 32, "eval_samples": 6},
    "three": {"kind": "given_words", "num_words": 3, "eval_samples": 4},
    "letters": {"kind": "given_words", "vocabulary": "letters", "eval_samples": 6, "eval_fraction": 0.9},
    "limits": {"kind": "suppression", "eval_samples": 4},
    "own": {"kind": "random_words", "eval_samples": 2},
}


def audit(experiment: ByHand) -> tuple[int, str]:
    layout = experiment.plan.layout
    options = ["--results", str(layout.results), "--models", str(layout.models)]
    run = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.slow
def test_an_experiment_agrees_with_its_audit_until_a_number_is_changed(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 8}, cases=CASES, comparisons={"cases": {}})
    train(experiment)
    for variant in ("baseline", "tuned"):
        for case in CASES:
            evaluate(experiment, variant, case)
    gather(experiment)
    code, said = audit(experiment)
    assert code == 0, said
    for column in ("accuracy", "avg_tvd", "within_slope", "design_effect", "ordinal: avg_tvd", "record: tvd_sad"):
        assert f"\n{column} " in said
    assert "probabilities of tiny baseline (float32)" in said
    assert "probabilities of tiny tuned (float32)" in said

    table = experiment.plan.layout.case_table()
    whole = table.read_text()
    header, *rows = whole.splitlines()
    place = header.split(",").index("avg_mass")
    cells = next(row for row in rows if row.startswith("tiny,baseline,given")).split(",")
    cells[place] = str(float(cells[place]) + 1e-6)
    table.write_text(
        "\n".join([header, *(",".join(cells) if row.startswith("tiny,baseline,given") else row for row in rows), ""])
    )
    code, said = audit(experiment)
    assert code == 1
    assert [line.split()[0] for line in said.splitlines() if "TOO LARGE" in line] == ["avg_mass"]
    table.write_text(whole)

    file = experiment.plan.layout.records("tiny", "tuned", "given")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records[0]["probabilities"][0] += 1e-3
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    code, said = audit(experiment)
    assert code == 1
    assert "probabilities of tiny tuned" in "".join(line for line in said.splitlines() if "TOO LARGE" in line)
