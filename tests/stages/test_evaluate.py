"""Evaluations that are cut off: the command line as it is, on a tiny model, with real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import ByHand
from forked import Forked
from in_process import train
from outctl.config.names import DEVIATION
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import read_records
from outctl.inference import passes, word_probabilities
from outctl.models import loading
from outctl.pipeline.layout import beside
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import check_outputs
from outctl.pipeline.runs import PLAN_VARIABLE, RUN_VARIABLE, announce, begin
from outctl.stages import model_job
from outctl.stages.dag import STAGES
from outctl.stages.make_deviation_samples import run as make_deviation_samples
from outctl.stages.model_job import ModelJob, ModelStage
from outctl.storage.files import read_json
from outctl.storage.locks import only_writer

MakeByHand = Callable[..., ByHand]
COMMAND = ("evaluate", "tiny", "baseline", "given")
WHOLE = ("--output", "whole.jsonl", "--checkpoints", "elsewhere")


@pytest.fixture
def experiment(by_hand: MakeByHand) -> ByHand:
    """An evaluation of a hundred parts."""
    samples = {"given": {"kind": "given_words", "train_samples": 32, "eval_samples": 200}}
    return by_hand(cases=samples, evaluation={"checkpoint_every": 2})


def planned_job(plan: Plan, stage: str, names: tuple[str, ...]) -> ModelJob:
    found = STAGES[stage]
    assert isinstance(found, ModelStage)
    return found.planned(plan.layout, plan.spec(stage, *names), names)


def job_of(plan: Plan, case: str) -> ModelJob:
    return planned_job(plan, "evaluate", ("tiny", "baseline", case))


def parts(experiment: ByHand) -> list[Path]:
    return sorted(experiment.plan.layout.checkpoints().glob("*/parts/records-*.jsonl"))


def cut_off(experiment: ByHand, number: int) -> Forked:
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
    job_of(experiment.plan, "given").run()
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


def test_an_evaluation_that_goes_on_with_less_free_memory_is_cut_into_the_same_passes(
    by_hand: MakeByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = {"given": {"kind": "given_words", "train_samples": 32, "eval_samples": 12}}
    experiment = by_hand(cases=samples, evaluation={"checkpoint_every": 6})
    measure, answer, sizes = CaseQuestions.measure, word_probabilities.answer_below, []

    def watched(beginning: Any, tokenizer: Any, part: Any, *arguments: Any) -> Any:
        sizes.append(len(part))
        return answer(beginning, tokenizer, part, *arguments)

    def until_cut_off(questions: CaseQuestions, numbers: Any, *arguments: Any) -> Any:
        if numbers[0]:
            raise KeyboardInterrupt
        return measure(questions, numbers, *arguments)

    monkeypatch.setattr(word_probabilities, "answer_below", watched)
    monkeypatch.setattr(CaseQuestions, "measure", until_cut_off)
    job = job_of(experiment.plan, "given")
    with pytest.raises(KeyboardInterrupt):
        job.run()
    monkeypatch.setattr(CaseQuestions, "measure", measure)
    monkeypatch.setattr(passes, "SHARE", 1e-9)
    job.run()
    assert sizes == [6, 6]
    assert read_json(beside(job.output))["tokens_per_pass"] == passes.MOST["cpu"]
    sizes.clear()
    other = replace(job, output=experiment.folder / "other.jsonl", checkpoints=experiment.folder / "elsewhere")
    other.run()
    assert len(sizes) > 4
    assert read_json(beside(other.output))["tokens_per_pass"] == passes.LEAST


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
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 1
    assert error.startswith("outctl: asked to stop")
    assert error.count("\n") == 1


@pytest.fixture
def three_cases(by_hand: MakeByHand) -> ByHand:
    given = {"kind": "given_words", "train_samples": 32, "eval_samples": 6}
    own = {"kind": "random_words", "eval_samples": 5}
    return by_hand(cases={"given": given, "own": own, "third": given}, evaluation={"checkpoint_every": 2})


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
    later = beside(three_cases.plan.layout.samples("third", "eval"))
    later.rename(later.with_suffix(".later"))
    jobs["given"].run(ahead=[jobs["own"], jobs["third"]])
    assert "own.jsonl: made too, since the model was loaded; its own job takes it over" in capsys.readouterr().out
    assert [job.output.exists() for job in jobs.values()] == [True, False, False]
    assert [job.finished.exists() for job in jobs.values()] == [True, True, False]
    jobs["own"].run()
    assert len(loads) == 1
    later.with_suffix(".later").rename(later)
    jobs["third"].run()
    assert len(loads) == 2
    command = ("evaluate", "tiny", "baseline", "own", "--output", "alone.jsonl", "--checkpoints", "elsewhere")
    assert three_cases.run(*command)[0] == 0
    assert jobs["own"].output.read_bytes() == (three_cases.folder / "alone.jsonl").read_bytes()


def test_cases_that_others_work_on_are_left_to_them(three_cases: ByHand) -> None:
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own", "third")}
    with only_writer(jobs["own"].output):
        jobs["given"].run(ahead=[jobs["own"], jobs["third"]])
    assert [job.finished.exists() for job in jobs.values()] == [True, False, True]


def test_a_job_that_has_computed_for_long_does_not_go_on_with_others(
    three_cases: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_job, "AHEAD", 0.0)
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own")}
    jobs["given"].run(ahead=[jobs["own"]])
    assert not jobs["own"].finished.exists()


KINDS = {
    "evaluate": ("tiny", "tuned", "given"),
    "evaluate-agreement": ("tiny", "tuned", "given"),
    "evaluate-deviation": ("tiny", "tuned"),
    "evaluate-retention": ("tiny", "tuned"),
}


@pytest.fixture
def every_kind(by_hand: MakeByHand) -> ByHand:
    """An experiment that asks a trained model everything there is to ask."""
    experiment = by_hand(
        {"steps": 2, "checkpoint_every": 2},
        retention={"prompts": 2, "answer_tokens": 2},
        agreement={"cases": ["given"], "samples": 2, "draws": 20},
        base_model_deviation={"samples": 2, "max_new_tokens": 10},
    )
    plan = experiment.plan
    make_deviation_samples(plan.spec("make-deviation-samples"), plan.layout.samples(DEVIATION, "eval"))
    train(experiment)
    return experiment


@pytest.fixture
def run_of_all(every_kind: ByHand, monkeypatch: pytest.MonkeyPatch) -> ByHand:
    """A run of the workflow that is to ask all of it, and the baseline something too."""
    for variable in (PLAN_VARIABLE, RUN_VARIABLE):
        monkeypatch.setenv(variable, "")
    plan = every_kind.plan
    announce(plan.freeze())
    jobs = [*((stage, *names) for stage, names in KINDS.items()), ("evaluate", "tiny", "baseline", "given")]
    for job in jobs:
        plan.spec(*job).write(plan.spec_path(*job))
    begin(plan.layout, {job: plan.spec_path(*job) for job in jobs})
    return every_kind


@pytest.mark.parametrize("leader", KINDS)
def test_a_loaded_model_goes_on_with_all_that_is_asked_of_its_variant(run_of_all: ByHand, leader: str) -> None:
    plan = run_of_all.plan
    assert run_of_all.run(leader, *KINDS[leader])[0] == 0
    jobs = {stage: planned_job(plan, stage, names) for stage, names in KINDS.items()}
    assert all(job.finished.is_file() for job in jobs.values())
    assert [stage for stage, job in jobs.items() if job.output.exists()] == [leader]
    assert not job_of(plan, "given").finished.exists()


@pytest.mark.slow
@pytest.mark.parametrize("leader", [0, 2, 3])
def test_what_a_loaded_model_went_on_with_is_what_jobs_of_their_own_make(run_of_all: ByHand, leader: int) -> None:
    """Whatever came before: deviation and retention switch the adapter off and on."""
    plan = run_of_all.plan
    jobs = [planned_job(plan, stage, names) for stage, names in KINDS.items()]
    jobs.insert(0, jobs.pop(leader))
    jobs[0].run(ahead=jobs[1:])
    for job in jobs[1:]:
        imported, out = modules_of(run_of_all, job.spec.stage, *KINDS[job.spec.stage])
        assert "finished by another start" in out
        assert {"torch", "transformers"}.isdisjoint(imported)
        folder = run_of_all.folder / job.spec.stage
        alone = replace(job, output=folder / job.output.name, checkpoints=folder)
        alone.run()
        assert job.output.read_bytes() == alone.output.read_bytes()


@pytest.mark.parametrize("change", [{"code": "0" * 64}, {"settings": {}}], ids=["code edited", "specification broken"])
def test_what_does_not_go_with_the_run_any_more_is_left_to_its_own_job(
    run_of_all: ByHand, change: dict[str, Any]
) -> None:
    """What a stage alone imports is read when its turn comes, and would be newer than the name of what it makes."""
    plan = run_of_all.plan
    agreement = "evaluate-agreement"
    edited = plan.spec_path(agreement, *KINDS[agreement])
    plan.spec(agreement, *KINDS[agreement]).model_copy(update=change).write(edited)
    code, said, _ = run_of_all.run("evaluate", *KINDS["evaluate"])
    assert code == 0
    assert "evaluate-agreement/tiny/tuned/given: left to its own job: " in said
    finished = [planned_job(plan, stage, KINDS[stage]).finished for stage in KINDS]
    assert [file.is_file() for file in finished] == [True, False, True, True]


def test_what_loads_a_second_model_is_left_to_its_own_job(run_of_all: ByHand) -> None:
    plan = run_of_all.plan
    names = KINDS["evaluate-deviation"]
    own = planned_job(plan, "evaluate-deviation", names)
    other = replace(own, reference_dir=plan.layout.model("tiny"))
    job_of(plan, "given").run(ahead=[other])
    assert not other.finished.exists()
    job_of(plan, "given").finished.unlink()
    job_of(plan, "given").run(ahead=[own])
    assert own.finished.exists()


def test_an_error_in_the_work_for_others_costs_the_job_nothing(
    three_cases: ByHand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own", "third")}
    measure = CaseQuestions.measure

    def broken_in_the_second_case(questions: CaseQuestions, *arguments: Any) -> Any:
        if questions.samples[0].case == "own":
            torch.empty(2**62, dtype=torch.int8)
        return measure(questions, *arguments)

    monkeypatch.setattr(CaseQuestions, "measure", broken_in_the_second_case)
    jobs["given"].run(ahead=[jobs["own"], jobs["third"]])
    assert [job.finished.exists() for job in jobs.values()] == [True, False, True]
    assert "own.jsonl: left to its own job: " in capsys.readouterr().out


def modules_of(experiment: ByHand, *command: str) -> tuple[set[str], str]:
    """What a command imports, and what it says."""
    program = (
        "import sys; from outctl.cli.main import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=experiment.folder, capture_output=True, text=True, check=True
    )
    said, _, imported = run.stdout.strip().rpartition("\n")
    return set(imported.split()), said


@pytest.mark.parametrize(("stopped", "done"), [("given", [True, False, False]), ("own", [True, True, False])])
def test_a_request_to_stop_ends_the_work_for_others(
    three_cases: ByHand, monkeypatch: pytest.MonkeyPatch, stopped: str, done: list[bool]
) -> None:
    """Also where it comes in the last part of a case, which is then whole."""
    jobs = {case: job_of(three_cases.plan, case) for case in ("given", "own", "third")}
    measure = CaseQuestions.measure

    def asked_to_stop(questions: CaseQuestions, numbers: Any, *arguments: Any) -> Any:
        if questions.samples[0].case == stopped and numbers[-1] == len(questions.samples) - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(questions, numbers, *arguments)

    monkeypatch.setattr(CaseQuestions, "measure", asked_to_stop)
    jobs["given"].run(ahead=[jobs["own"], jobs["third"]])
    assert [job.finished.exists() for job in jobs.values()] == done
    assert jobs["given"].output.exists()


def test_a_job_whose_own_work_is_done_ends_well_when_asked_to_stop(run_of_all: ByHand) -> None:
    """Its output is whole, though it was in the midst of another's work that keeps no parts."""
    plan, names = run_of_all.plan, KINDS["evaluate"]
    other = planned_job(plan, "evaluate-agreement", names).output
    process = run_of_all.start("evaluate", *names)
    while not (other.parent / f".{other.name}.lock").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 0, error
    # Lines on its progress may come before.
    assert error.endswith(
        "outctl: asked to stop; the job's own work is done, and what others wait for is left to them\n"
    )
    assert planned_job(plan, "evaluate", names).output.exists()
