"""On a cluster with accounting: a training out of time, an evaluation out of memory and then cancelled by hand."""

import pytest
from slurm.submission import Submission
from slurm.training import logged_losses
from workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(overrun: Submission) -> Submission:
    """The run after its end."""
    overrun.finish()
    return overrun


def test_a_training_out_of_time_goes_on_from_its_checkpoint(finished: Submission) -> None:
    recipe = finished.workspace.config["adapters"]["tuned"]
    assert [job.state for job in finished.jobs("finetune")] == ["TIMEOUT", "COMPLETED"]
    rest = recipe["steps"] - recipe["checkpoint_every"]
    assert logged_losses(finished, "tiny", "tuned") <= rest // recipe["log_every"]


def test_an_evaluation_out_of_memory_comes_back_with_more_and_again_after_it_was_cancelled(
    finished: Submission,
) -> None:
    jobs = finished.jobs("evaluate")
    # The kill of a step is a failure of its job, where no cgroup tells the reason.
    assert [job.state for job in jobs] == ["FAILED", "CANCELLED", "COMPLETED"]
    assert [job.fields["MinMemoryNode"] for job in jobs] == ["300M", "3000M", "3000M"]
    # A job of several steps, here of one, has a folder of its own.
    logs = finished.workspace.results / "logs" / "slurm"
    (folder,) = logs.glob("group_evaluate*")
    assert ["exceeded memory limit" in next(folder.rglob(f"{job.id}.log")).read_text() for job in jobs] == [
        True,
        False,
        False,
    ]


def test_the_results_are_those_of_an_undisturbed_run(finished: Submission, tiny_workspace: Workspace) -> None:
    for name in (
        "adapters/tiny/tuned/adapter_model.safetensors",
        "adapters/tiny/tuned/training.jsonl",
        "evaluations/tiny/baseline/given.jsonl",
    ):
        assert (finished.workspace.results / name).read_bytes() == (tiny_workspace.results / name).read_bytes()
