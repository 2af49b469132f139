"""The command line by hand, on a tiny model: every step of the pipeline in turn, and the interactive commands."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
import yaml

from outctl.cli.main import main, spread


@dataclass(frozen=True)
class Ended:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Outctl = Callable[..., Ended]


@pytest.fixture
def outctl(
    tmp_path: Path,
    tiny_model_dir: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Outctl:
    """Run the command line in a working directory with a configured experiment on a tiny model."""
    original = tiny_model_dir("llama").parent / "original"
    entry = {
        "source": {"kind": "local", "path": str(original)},
        "chat": True,
        "parameters": 30_000,
        "precision": "float32",
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry, "other": entry}}))
    experiment = {
        "models": ["tiny"],
        "cases": {
            "given": {"kind": "given_words", "train_samples": 12, "eval_samples": 5},
            "own": {"kind": "random_words", "eval_samples": 3},
        },
        "adapters": {
            "tuned": {"cases": {"given": 12}, "steps": 3, "batch_size": 2, "held_out_samples": 2, "log_every": 1}
        },
    }
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(experiment))
    monkeypatch.chdir(tmp_path)
    # This was printed while the model was made, not by the command.
    capsys.readouterr()

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["outctl", *arguments])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def run_steps(outctl: Outctl, *steps: str) -> None:
    for step in steps:
        answer = outctl(*step.split())
        assert answer.code == 0, (step, answer.err)


@pytest.fixture
def trained(outctl: Outctl) -> Outctl:
    """The command line, once model, samples and adapter are there."""
    run_steps(
        outctl, "fetch-model tiny", "make-samples given train", "make-samples given eval", "make-samples own eval"
    )
    run_steps(outctl, "finetune tiny tuned")
    return outctl


@pytest.mark.slow
def test_every_step_by_hand_ends_in_the_tables(trained: Outctl, tmp_path: Path) -> None:
    for variant in ("baseline", "tuned"):
        run_steps(trained, f"evaluate tiny {variant} given", f"evaluate tiny {variant} own")
    run_steps(trained, "aggregate-model tiny", "aggregate", "figures", "report")
    table = pd.read_csv(tmp_path / "results" / "output_control_simple_metrics.csv")
    # Three references and two variants of each case.
    assert len(table) == 10
    answer = trained("summary")
    assert answer.code == 0
    assert all(word in answer.out for word in ("tiny", "baseline", "tuned", "uniform", "output_control_results.csv"))
    assert max(map(len, answer.out.splitlines())) <= 120


def test_probabilities_of_words_are_printed_and_sum_to_one(trained: Outctl) -> None:
    plain = trained("probs", "tiny", "Say one word", "--words", "ark", "atom", "--json")
    adapted = trained(
        "probs", "tiny", "Say one word", "--words", "ark", "atom", "--json", "--adapter", "results/adapters/tiny/tuned"
    )
    assert set(json.loads(plain.out)) == {"ark", "atom"}
    assert 0 < sum(json.loads(plain.out).values()) < 1
    assert json.loads(plain.out) != json.loads(adapted.out)
    table = trained("probs", "tiny", "Say one word", "--words", "ark", "atom").out
    numbers = [float(line.split("│")[2]) for line in table.splitlines() if line.startswith("│")]
    assert sum(numbers) == pytest.approx(1.0, abs=1e-3)
    assert "float32, 4 digits" in table


def test_an_adapter_of_another_model_takes_force(trained: Outctl) -> None:
    copy = Path(shutil.copytree("results/adapters/tiny/tuned", "copy"))
    (copy / "provenance.json").unlink()
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "lab/another"}))
    asked = ("probs", "tiny", "Say one word", "--words", "ark", "--json", "--adapter", "copy")
    refused = trained(*asked)
    assert refused.code == 1
    assert "copy: made for the model 'lab/another', not for tiny; choose that model" in refused.err
    forced = trained(*asked, "--force")
    assert forced.code == 0, forced.err
    run_steps(trained, "run-experiment --models tiny --num-examples 2 --lora-adapter copy --force")


def test_text_is_generated_and_sampling_is_seeded(trained: Outctl) -> None:
    def text(*options: str) -> str:
        return str(json.loads(trained("generate", "tiny", "Say one word", "--json", *options).out)["text"])

    assert text("--max-new-tokens", "5") == text("--max-new-tokens", "5")
    hot = ("--temperature", "1", "--max-new-tokens", "20")
    assert text(*hot, "--seed", "1") == text(*hot, "--seed", "1") != text(*hot, "--seed", "2")


def test_models_are_listed_with_what_is_fetched(outctl: Outctl) -> None:
    run_steps(outctl, "fetch-model tiny")
    rows = json.loads(outctl("models", "--json").out)
    assert (rows["tiny"]["fetched"], rows["other"]["fetched"]) == (True, False)
    assert rows["tiny"]["parameters"] == 30_000
    assert "float32" in outctl("models").out


def test_an_experiment_runs_without_the_workflow_as_it_does_with_it(trained: Outctl, tmp_path: Path) -> None:
    run_steps(trained, "fetch-model other", "evaluate tiny tuned given", "evaluate tiny baseline given")
    arguments = ["--num-examples", "5", "--lora-adapter", "results/adapters/tiny/tuned", "--json"]
    answer = trained("run-experiment", "--models", "tiny", "other", *arguments)
    assert answer.code == 0, answer.err
    rows = {(row["model"], row["variant"], row["case_type"]): row for row in json.loads(answer.out)}
    assert {model for model, _, _ in rows} == {"reference", "tiny", "other"}
    for variant in ("baseline", "tuned"):
        lines = (tmp_path / "results" / "evaluations" / "tiny" / variant / "given.jsonl").read_text().splitlines()
        distances = [json.loads(line)["tvd"] for line in lines]
        assert rows["tiny", variant, "given"]["avg_tvd"] == pytest.approx(sum(distances) / 5, abs=1e-6)
    assert rows["tiny", "tuned", "given"]["fine_tuned"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fetch-model tinny", "there is no model 'tinny'; did you mean 'tiny'?"),
        ("make-samples givn eval", "there is no case 'givn'; did you mean 'given'?"),
        ("make-samples given test", "there is no split 'test'; known: train, eval"),
        ("evaluate tiny tund given", "there is no variant 'tund'; did you mean 'tuned'?"),
        ("finetune tiny given", "there is no adapter 'given'; known: tuned"),
        ("probs tiny hello --words ark atom", "model tiny is not fetched; run `outctl fetch-model tiny` first"),
        ("run-experiment --models tiny", "model tiny is not fetched; run `outctl fetch-model tiny` first"),
        ("evaluate tiny baseline given", "resources/models/tiny/provenance.json: no such file"),
        ("models --config config/nope.yaml", "config/nope.yaml: no such file"),
        ("summary", "results/output_control_simple_metrics.csv: no such file"),
    ],
)
def test_a_mistake_ends_in_one_line(outctl: Outctl, command: str, message: str) -> None:
    answer = outctl(*command.split())
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"outctl: {message}")
    assert answer.err.count("\n") == 1


def test_words_that_are_spelt_alike_are_refused(trained: Outctl) -> None:
    answer = trained("probs", "tiny", "Say one word", "--words", "ark", "Ark")
    assert answer.code == 1
    assert "outctl: words 'ark' and 'Ark' are spelt alike" in answer.err


def test_a_spec_of_another_stage_is_refused(outctl: Outctl, tmp_path: Path) -> None:
    run_steps(outctl, "make-samples given eval")
    provenance = json.loads((tmp_path / "results" / "samples" / "given" / "eval.provenance.json").read_text())
    (tmp_path / "spec.json").write_text(json.dumps(provenance["spec"]))
    answer = outctl("fetch-model", "tiny", "--spec", "spec.json", "--output", "elsewhere")
    assert answer.code == 1
    assert answer.err == "outctl: spec.json: the specification of make-samples, not of fetch-model\n"


@pytest.mark.parametrize(
    "command", ["", "fetch-model", "finetune", "evaluate", "aggregate", "probs", "generate", "models", "run-experiment"]
)
def test_help_is_given(outctl: Outctl, command: str) -> None:
    answer = outctl(*filter(None, [command]), "--help")
    assert answer.code == 0
    assert "Usage" in answer.out


def test_the_version_is_that_of_the_package(outctl: Outctl) -> None:
    answer = outctl("--version")
    assert (answer.code, answer.out) == (0, f"outctl {metadata.version('outctl')}\n")


def test_several_values_may_follow_an_option() -> None:
    assert spread(["probs", "m", "hi", "--words", "a", "b", "--json"]) == [
        "probs", "m", "hi", "--words", "a", "--words", "b", "--json"
    ]  # fmt: skip
    assert spread(["--models", "A", "B", "--num-examples", "3"]) == [
        "--models", "A", "--models", "B", "--num-examples", "3"
    ]  # fmt: skip
