"""One run whose training is requeued from a node being drained, and preempted, and whose evaluation is cancelled by hand."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm.cluster import Cluster, Job
from slurm.submission import Submission
from slurm.training import frozen_training, logged_losses, newest_checkpoint
from workspace import Workspace

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Disturbed:
    """What was seen of the disturbed run.

    Attributes:
        results: its results.
        drained: the training's job after it had been requeued on a node that was drained.
        requeued: the same job, running again.
        preempted: the same job, running again after one of higher priority.
        checkpoint: step of the newest checkpoint when it was preempted.
        losses: how many losses the training printed after that.
        trainings: the training's jobs, in the end.
        evaluations: the evaluation's jobs, in the end.
    """

    results: Path
    drained: Job
    requeued: Job
    preempted: Job
    checkpoint: int
    losses: int
    trainings: list[Job]
    evaluations: list[Job]


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster,
    undisturbed: Submission,
    overrun: Submission,
    whole_run: Submission,
    tmp_path_factory: pytest.TempPathFactory,
) -> Disturbed:
    """The tiny experiment once more from its training on.

    All runs wait most of their time: those that other modules look at go on in the background meanwhile.
    """
    undisturbed.finish()
    workspace = Workspace(tmp_path_factory.mktemp("disturbed").resolve(), undisturbed.workspace.config)
    shutil.copytree(undisturbed.workspace.folder, workspace.folder, dirs_exist_ok=True)
    with Submission(cluster, workspace, "--forcerun=finetune") as submission:
        job = frozen_training(submission)
        cluster.drain()
        cluster.run("scontrol", "requeue", job.id)
        drained = submission.wait_for_job("finetune", "PENDING", reason="DRAINED")
        cluster.resume()
        requeued = submission.wait_for_job("finetune", "RUNNING")

        frozen_training(submission, after=newest_checkpoint(submission))
        checkpoint = newest_checkpoint(submission)
        urgent = ["--partition=urgent", "--comment=urgent", f"--gpus={cluster.options.gpus}", "--mem=10"]
        cluster.run("sbatch", *urgent, "--chdir=/", "--output=/dev/null", "--wrap", "sleep 1")
        cluster.wait_for_job("urgent", "COMPLETED")
        preempted = submission.wait_for_job("finetune", "RUNNING")

        cluster.run("scancel", submission.wait_for_job("evaluate", "RUNNING").id)
        submission.finish()
        return Disturbed(
            workspace.results,
            drained,
            requeued,
            preempted,
            checkpoint,
            logged_losses(submission, "tiny", "tuned"),
            submission.jobs("finetune"),
            submission.jobs("evaluate"),
        )


def test_a_requeued_job_waits_while_its_node_is_drained_and_runs_when_it_is_back(disturbed: Disturbed) -> None:
    assert disturbed.drained.state == "PENDING"
    assert disturbed.requeued.id == disturbed.drained.id
    assert disturbed.requeued.fields["Restarts"] == "1"


def test_a_preempted_job_is_queued_again_by_slurm(disturbed: Disturbed) -> None:
    assert disturbed.preempted.id == disturbed.drained.id
    assert disturbed.preempted.fields["Restarts"] == "2"


def test_a_job_that_slurm_queued_again_is_still_the_first_attempt(disturbed: Disturbed) -> None:
    assert [job.state for job in disturbed.trainings] == ["COMPLETED"]


def test_a_cancelled_job_comes_back_with_more_memory_and_time(disturbed: Disturbed) -> None:
    assert [job.state for job in disturbed.evaluations] == ["CANCELLED", "COMPLETED"]
    assert [job.fields["MinMemoryNode"] for job in disturbed.evaluations] == ["2500M", "3750M"]
    assert [job.fields["TimeLimit"] for job in disturbed.evaluations] == ["00:06:00", "00:11:00"]


def test_the_training_went_on_from_its_checkpoints(disturbed: Disturbed, tiny_workspace: Workspace) -> None:
    recipe = tiny_workspace.config["adapters"]["tuned"]
    # It was stopped at one, then at another beyond that, and began there at last.
    assert disturbed.checkpoint >= 2 * recipe["checkpoint_every"]
    # Asked to end, it may have written one more before it was gone.
    assert 0 < disturbed.losses <= (recipe["steps"] - disturbed.checkpoint) // recipe["log_every"]
    assert not list((disturbed.results / "checkpoints").glob("**/checkpoint-*"))


def test_the_results_are_those_of_an_undisturbed_run(disturbed: Disturbed, tiny_workspace: Workspace) -> None:
    for name in (
        "output_control_results.csv",
        "output_control_simple_metrics.csv",
        "adapters/tiny/tuned/adapter_model.safetensors",
        "adapters/tiny/tuned/training.jsonl",
    ):
        assert (disturbed.results / name).read_bytes() == (tiny_workspace.results / name).read_bytes()
