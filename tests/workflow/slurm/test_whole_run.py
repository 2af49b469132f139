"""The whole workflow on a cluster, with real weights: every job gets what it needs, and nothing else."""

import json
import socket
from typing import Any

import pandas as pd
import pytest
from slurm.cluster import Job
from slurm.submission import Submission

pytestmark = pytest.mark.slow

JOBS = {
    "finetune_wildcards": 1,
    "make_samples_wildcards": 4,
    "aggregate_model_wildcards": 1,
    # All cases of a model and variant in one.
    "evaluate-small-baseline": 1,
    "evaluate-small-tuned": 1,
}


@pytest.fixture(scope="module")
def finished(whole_run: Submission) -> Submission:
    """The run after its end."""
    whole_run.finish()
    return whole_run


def scheduler(submission: Submission, path: str) -> dict[str, Any]:
    """What a provenance file below the working directory says of the job that wrote it."""
    provenance = json.loads((submission.workspace.folder / path).read_text())
    scheduler: dict[str, Any] = provenance["environment"]["scheduler"]
    return scheduler


def job_of(submission: Submission, path: str) -> Job:
    """The job that wrote a provenance file."""
    (job,) = [job for job in submission.jobs() if job.id == scheduler(submission, path)["job_id"]]
    return job


def test_a_run_goes_from_the_models_name_to_tables_and_figures(finished: Submission) -> None:
    table = pd.read_csv(finished.workspace.results / "output_control_simple_metrics.csv")
    rows = set(zip(table["model"], table["variant"], table["case_type"], strict=True))
    assert {
        ("small", variant, case) for variant in ("baseline", "tuned") for case in ("given", "random", "icl")
    } <= rows
    for name in ("output_control_combined_results.json", "figures/calibration.svg", "figures/tvd.svg"):
        assert (finished.workspace.results / name).stat().st_size > 0
    assert "Baseline against adapter" in finished.output.read_text()


def test_one_job_does_the_work_of_each_step_and_one_that_of_a_models_evaluations(finished: Submission) -> None:
    assert {name: len(finished.jobs(name)) for name in JOBS} == JOBS
    assert [job.state for job in finished.jobs()] == ["COMPLETED"] * sum(JOBS.values())


def test_evaluations_that_share_a_job_take_turns_on_one_gpu(finished: Submission) -> None:
    paths = [f"results/evaluations/small/tuned/{case}.provenance.json" for case in ("given", "random", "icl")]
    assert len({scheduler(finished, path)["job_id"] for path in paths}) == 1
    assert len({scheduler(finished, path)["gpus"] for path in paths}) == 1


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("results/adapters/small/tuned/provenance.json", "finetune"),
        ("results/evaluations/small/baseline/given.provenance.json", "evaluate-small-baseline"),
        ("results/evaluations/small/tuned/given.provenance.json", "evaluate-small-tuned"),
    ],
)
def test_jobs_that_compute_with_a_model_hold_one_gpu_and_see_it(finished: Submission, path: str, rule: str) -> None:
    job = job_of(finished, path)
    assert job.comment.startswith(f"rule_{rule}_")
    assert job.gpus == "gpu:h200:1"
    assert scheduler(finished, path)["gpus"] in ("0", "1")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("results/samples/given/train.provenance.json", "make_samples"),
        ("results/output_control_results_small.provenance.json", "aggregate_model"),
    ],
)
def test_other_jobs_hold_no_gpu_and_see_none(finished: Submission, path: str, rule: str) -> None:
    job = job_of(finished, path)
    assert job.comment.startswith(f"rule_{rule}_")
    assert job.gpus is None
    assert scheduler(finished, path)["gpus"] is None


@pytest.mark.parametrize(
    "path",
    [
        "models/small/provenance.json",
        "results/output_control_combined_results.provenance.json",
        "results/figures/figures.provenance.json",
    ],
)
def test_models_are_fetched_and_results_combined_where_snakemake_runs(finished: Submission, path: str) -> None:
    assert scheduler(finished, path) == {"job_id": None, "gpus": None, "host": socket.gethostname()}


def test_no_job_asks_for_anything_on_the_network(finished: Submission, proxy: socket.socket) -> None:
    proxy.setblocking(False)
    with pytest.raises(BlockingIOError):
        proxy.accept()
