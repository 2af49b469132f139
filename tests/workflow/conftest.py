"""Experiments that many tests look at, run once through Snakemake."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from scene import Reference
from staleness_report import CHECKED, markdown
from workspace import Run, Workspace

from documentation import write_between


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--staleness-table", type=Path, metavar="FILE", help="print the staleness table, and write it there"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(CHECKED, [])
    # Unknown where these tests are collected by way of a directory above.
    if rows and (file := config.getoption("--staleness-table", default=None)):
        terminalreporter.write_line(markdown(rows))
        write_between(file, "staleness", markdown(rows))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> tuple[Workspace, Run]:
    """An experiment on a tiny model, run by Snakemake from nothing to the report, and what the run wrote into a pipe.

    One of the processes that the tests are spread over runs it, and each has a copy of its own.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, printed = shared / "finished", shared / "finished.txt"
    source = {"kind": "local", "path": str(shared / "original")}
    entry = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}
    recipe = {"cases": {"given": 24}, "steps": 12, "batch_size": 4, "held_out_samples": 2, "log_every": 4}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 24, "eval_samples": 12},
            "own": {"kind": "random_words", "eval_samples": 2, "template": "asking.yaml"},
        },
        "adapters": {"tuned": recipe},
        "resources": {"threads": 1},
    }
    with FileLock(shared / "finished.lock"):
        if not printed.exists():
            shutil.copytree(tiny_model_dir().parent / "original", shared / "original")
            folder.mkdir()
            registry = {"models": {"tiny": entry, "tiny-nf4": entry | {"precision": "nf4"}}}
            (folder / "models.yaml").write_text(yaml.safe_dump(registry))
            (folder / "asking.yaml").write_text(
                "question: 'Seed {{ seed }}: {{ percents[0] }} or {{ percents[1] }}?'\n"
            )
            run = Workspace(folder, config).snakemake()
            assert run.code == 0, run.output
            printed.write_text(run.output)
    own = Workspace(tmp_path_factory.mktemp("experiment") / "finished", config)
    shutil.copytree(folder, own.folder)
    return own, Run(0, printed.read_text())


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Reference:
    """An undisturbed run of an experiment on a tiny model, whose jobs have several checkpoints each."""
    folder = tmp_path_factory.mktemp("undisturbed")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    registry = {"models": {"tiny": {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}}}
    recipe = {"cases": {"given": 48}, "steps": 200, "batch_size": 4, "held_out_samples": 2, "dropout": 0.1}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {"given": {"kind": "given_words", "train_samples": 48, "eval_samples": 120}},
        "adapters": {"tuned": recipe | {"log_every": 5, "checkpoint_every": 20, "measure_every": 50}},
        "evaluation": {"checkpoint_every": 10},
        "resources": {"gpu": 0, "threads": 1},
    }
    prepared = Workspace(folder / "prepared", config)
    prepared.folder.mkdir()
    (prepared.folder / "models.yaml").write_text(yaml.safe_dump(registry))
    samples = [f"results/samples/given/{split}.provenance.json" for split in ("train", "eval")]
    run = prepared.snakemake("models/tiny/provenance.json", *samples)
    assert run.code == 0, run.output
    finished = Workspace(folder / "finished", config)
    shutil.copytree(prepared.folder, finished.folder)
    began = time.monotonic()
    run = finished.snakemake()
    assert run.code == 0, run.output
    return Reference(prepared, finished, time.monotonic() - began)
