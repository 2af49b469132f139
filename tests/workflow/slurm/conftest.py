"""Throw-away clusters that the tests share, and a line on whether Slurm runs here."""

import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from slurm.availability import started
from slurm.cluster import Cluster, why_not
from slurm.configuration import Options, Partition
from slurm.packages import slurm_version
from slurm.submission import Submission
from slurm.training import frozen_training
from workspace import Workspace


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster without accounting, whose partition `urgent` requeues jobs of the other."""
    partitions = (Partition("main"), Partition("urgent", priority=10))
    cluster = started(Options(partitions=partitions, preemption=True))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def accounting_cluster() -> Iterator[Cluster]:
    """A cluster with an accounting database, which ends jobs that take more memory than they asked for."""
    cluster = started(Options(accounting=True, over_memory_kill=True))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Workspace:
    """A working directory with an experiment on a tiny model, in which nothing has run."""
    folder = tmp_path_factory.mktemp("tiny").resolve()
    source = {"kind": "local", "path": str(tiny_model_dir())}
    registry = {"models": {"tiny": {"source": source, "chat": True, "parameters": 30_000}}}
    (folder / "models.yaml").write_text(yaml.safe_dump(registry))
    recipe = {"cases": {"given": 64}, "batch_size": 4, "held_out_samples": 2, "measure_every": 120}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {"given": {"kind": "given_words", "train_samples": 64, "eval_samples": 4}},
        "adapters": {"tuned": recipe | {"steps": 240, "log_every": 20, "checkpoint_every": 40}},
        "resources": {"threads": 1},
    }
    return Workspace(folder, config)


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tiny_workspace: Workspace) -> Iterator[Submission]:
    """The tiny experiment, run without Slurm's jobs; started in the background."""
    with Submission(cluster, tiny_workspace, "--executor=local", "--cores=2") as submission:
        yield submission


@pytest.fixture(scope="session")
def overrun(
    undisturbed: Submission, accounting_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Submission]:
    """Part of the tiny experiment in the background: a training that runs out of time, and an evaluation that runs out of memory
    first, and is then cancelled by hand.
    """
    original = undisturbed.workspace
    folder = tmp_path_factory.mktemp("overrun").resolve()
    shutil.copy(original.folder / "models.yaml", folder)
    resources = {"evaluate": {"mem_mb": "300 if attempt == 1 else 3000"}}
    targets = ("results/adapters/tiny/tuned/provenance.json", "results/evaluations/tiny/baseline/given.jsonl")
    with Submission(
        accounting_cluster,
        Workspace(folder, original.config),
        *targets,
        profile={"set-resources": resources},
    ) as submission:

        def out_of_time() -> None:
            # It is given a minute once it has a checkpoint: a slow machine needs longer than that to write one.
            training = frozen_training(submission)
            accounting_cluster.run("scontrol", "update", f"JobId={training.id}", "TimeLimit=1")

        def cancelled() -> None:
            accounting_cluster.run("scancel", submission.wait_for_job("evaluate", "RUNNING", number=2).id)

        # Which of them comes first depends on the machine.
        with ThreadPoolExecutor() as threads:
            for waiting in [threads.submit(out_of_time), threads.submit(cancelled)]:
                waiting.result()
        yield submission


@pytest.fixture(scope="session")
def proxy() -> Iterator[socket.socket]:
    """Where everything that asks for something on the network is sent; nobody answers there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture(scope="session")
def whole_run(
    accounting_cluster: Cluster, proxy: socket.socket, tmp_path_factory: pytest.TempPathFactory, real_model_dir: Path
) -> Iterator[Submission]:
    """A small experiment on real weights, with the profile as it is, in the background."""
    folder = tmp_path_factory.mktemp("whole").resolve()
    source = {"kind": "local", "path": str(real_model_dir)}
    registry = {"models": {"small": {"source": source, "chat": True, "parameters": 134515008}}}
    (folder / "models.yaml").write_text(yaml.safe_dump(registry))
    recipe = {"cases": {"given": 24}, "steps": 2, "batch_size": 2, "held_out_samples": 2, "log_every": 1}
    config = {
        "models": ["small"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 24, "eval_samples": 4},
            "random": {"kind": "random_words", "eval_samples": 2},
            "icl": {"kind": "icl_random_words", "eval_samples": 2},
        },
        "adapters": {"tuned": recipe},
        "resources": {"threads": 1},
    }
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    proxies = {"http_proxy": address, "https_proxy": address, "no_proxy": ""}
    with Submission(accounting_cluster, Workspace(folder, config), environment=proxies) as submission:
        yield submission


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reason = why_not()
    terminalreporter.write_line(f"Slurm: not run, {reason}" if reason else f"Slurm: {slurm_version()}, runs")
