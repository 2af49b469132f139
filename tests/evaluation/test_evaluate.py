"""Evaluations that are cut off: the command line as it is, on a tiny model, with real signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import ByHand
from outctl.evaluation import evaluate
from outctl.evaluation.evaluate import EvaluationJob
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import read_records
from outctl.layout import beside
from outctl.locks import only_writer
from outctl.models import loading
from outctl.plan import Plan
from outctl.provenance import check_outputs

MakeByHand = Callable[..., ByHand]
COMMAND = ("evaluate", "tiny", "baseline", "given")
WHOLE = ("--output", "whole.jsonl", "--checkpoints", "elsewhere")


@pytest.fixture
def experiment(by_hand: MakeByHand) -> ByHand:
    """An evaluation of a hundred parts."""
    samples = {"given": {"kind": "given_words", "train_samples": 32, "eval_samples": 200}}
    return by_hand(cases=samples, evaluation={"checkpoint_every": 2})


def job_of(plan: Plan, case: str) -> EvaluationJob:
    layout, names = plan.layout, ("tiny", "baseline", case)
    return EvaluationJob(
        plan.spec("evaluate", *names),
        layout.model("tiny"),
        layout.samples(case, "eval"),
        None,
        layout.records(*names),
        layout.checkpoints(),
    )


def parts(experiment: ByHand) -> list[Path]:
    return sorted(experiment.plan.layout.checkpoints().glob("*/parts/records-*.jsonl"))


def cut_off(experiment: ByHand, number: int) -> "subprocess.Popen[str]":
    """Start an evaluation and give it a signal once some of its parts are kept."""
    process = experiment.start(*COMMAND)
    while len(parts(experiment)) < 5 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    return process


def evaluate_again(experiment: ByHand, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Evaluate in this process, and give the samples that are really measured."""
    measure, asked = CaseQuestions.measure, []

    def watched(questions: CaseQuestions, numbers: Any, *arguments: Any) -> Any:
        asked.extend(questions.samples[number].sample_id for number in numbers)
        return measure(questions, numbers, *arguments)

    monkeypatch.setattr(CaseQuestions, "measure", watched)
    evaluate.evaluate_case(job_of(experiment.plan, "given"))
    return asked


def test_an_evaluation_that_was_asked_to_stop_measures_only_what_is_missing_and_ends_in_the_same_bytes(
    experiment: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert experiment.run(*COMMAND, *WHOLE)[0] == 0
    process = cut_off(experiment, signal.SIGTERM)
    _, error = process.communicate()
    output = experiment.plan.layout.records("tiny", "baseline", "given")
    assert not output.exists()
    kept = [record.sample_id for part in parts(experiment) for record in read_records(part)]
    assert 10 <= len(kept) < 200
    assert process.returncode == 1
    # On a slow machine lines on its progress come before.
    *progress, last = error.splitlines()
    assert last == (
        f"outctl: asked to stop after {len(kept)} of 200 samples; what is done is kept, and the next start goes on "
        "from there"
    )
    assert all(line.endswith(" of 200 samples") for line in progress)
    measured = evaluate_again(experiment, monkeypatch)
    whole = experiment.folder / "whole.jsonl"
    assert sorted(measured + kept) == sorted(record.sample_id for record in read_records(whole))
    assert output.read_bytes() == whole.read_bytes()
    check_outputs(beside(output), experiment.plan.spec("evaluate", "tiny", "baseline", "given").hash)


def test_a_part_that_was_truncated_is_measured_again(experiment: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    process = cut_off(experiment, signal.SIGKILL)
    process.wait()
    broken, shortened, emptied, *_ = parts(experiment)
    lost = [record.sample_id for part in (broken, shortened, emptied) for record in read_records(part)]
    kept = [record.sample_id for part in parts(experiment) for record in read_records(part)]
    broken.write_bytes(broken.read_bytes()[:-20])
    shortened.write_bytes(shortened.read_bytes().splitlines(keepends=True)[0])
    emptied.write_bytes(b"")
    measured = evaluate_again(experiment, monkeypatch)
    assert set(lost) <= set(measured)
    assert len(measured) == 200 - len(kept) + len(lost)
    assert len(read_records(experiment.plan.layout.records("tiny", "baseline", "given"))) == 200


def test_of_two_evaluations_at_once_the_second_waits_and_measures_nothing(experiment: ByHand) -> None:
    first, out = experiment.two_at_once(*COMMAND, begun=lambda: parts(experiment))
    output = experiment.plan.layout.records("tiny", "baseline", "given")
    waiting, made = out.splitlines()
    assert waiting.startswith(f"{output}: another job works on it; waiting for process {first} on ")
    assert made.startswith(f"{output}: finished by another start, taken from ")


def test_what_was_finished_is_taken_over_when_its_output_was_deleted(
    experiment: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(evaluate_again(experiment, monkeypatch)) == 200
    output = experiment.plan.layout.records("tiny", "baseline", "given")
    before = output.read_bytes(), beside(output).read_bytes()
    output.unlink()
    beside(output).unlink()
    assert evaluate_again(experiment, monkeypatch) == []
    assert (output.read_bytes(), beside(output).read_bytes()) == before


def test_a_request_to_stop_while_the_model_is_loaded_is_one_line(experiment: ByHand) -> None:
    process = experiment.start(*COMMAND)
    lock = experiment.plan.layout.records("tiny", "baseline", "given").parent / ".given.jsonl.lock"
    while not lock.exists() and process.poll() is None:
        time.sleep(0.001)
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == 1
    assert error.startswith("outctl: asked to stop")
    assert error.count("\n") == 1


@pytest.fixture
def three_cases(by_hand: MakeByHand) -> ByHand:
    given = {"kind": "given_words", "train_samples": 32, "eval_samples": 6}
    own = {"kind": "random_words", "eval_samples": 5}
    return by_hand(cases={"given": given, "own": own, "third": given})


def test_a_loaded_model_goes_on_with_cases_that_others_then_take_over(
    three_cases: ByHand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads = []
    load = loading.load_model

    def watched(*arguments: Any) -> Any:
        loads.append(arguments)
        return load(*arguments)

    monkeypatch.setattr(loading, "load_model", watched)
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own", "third")}
    # Its samples are still to be made, so it is not to be evaluated yet.
    later = beside(jobs["third"].samples)
    later.rename(later.with_suffix(".later"))
    evaluate.evaluate_case(jobs["given"], ahead=[jobs["own"], jobs["third"]])
    assert "own.jsonl: evaluated too, since the model was loaded; its own job takes it over" in capsys.readouterr().out
    assert [job.output.exists() for job in jobs.values()] == [True, False, False]
    assert [job.finished.exists() for job in jobs.values()] == [True, True, False]
    evaluate.evaluate_case(jobs["own"])
    assert len(loads) == 1
    later.with_suffix(".later").rename(later)
    evaluate.evaluate_case(jobs["third"])
    assert len(loads) == 2
    command = ("evaluate", "tiny", "baseline", "own", "--output", "alone.jsonl", "--checkpoints", "elsewhere")
    assert three_cases.run(*command)[0] == 0
    assert jobs["own"].output.read_bytes() == (three_cases.folder / "alone.jsonl").read_bytes()


def test_cases_that_others_work_on_are_left_to_them(three_cases: ByHand) -> None:
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own", "third")}
    with only_writer(jobs["own"].output):
        evaluate.evaluate_case(jobs["given"], ahead=[jobs["own"], jobs["third"]])
    assert [job.finished.exists() for job in jobs.values()] == [True, False, True]


def test_a_job_that_has_computed_for_long_does_not_go_on_with_others(
    three_cases: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "AHEAD", 0.0)
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own")}
    evaluate.evaluate_case(jobs["given"], ahead=[jobs["own"]])
    assert not jobs["own"].finished.exists()


def test_records_that_are_there_are_taken_over_without_the_heavy_libraries(three_cases: ByHand) -> None:
    command = ("evaluate", "tiny", "baseline", "given")
    assert three_cases.run(*command)[0] == 0
    program = (
        "import sys; from outctl.cli.main import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=three_cases.folder, capture_output=True, text=True, check=True
    )
    assert "finished by another start" in run.stdout
    assert {"torch", "transformers"}.isdisjoint(run.stdout.split())
