"""A small experiment on the embedded model's real weights, run once through Snakemake and looked at by many tests."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
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
def workspace(tmp_path_factory: pytest.TempPathFactory, real_model_dir: Path) -> Workspace:
    """A configured working directory in which nothing has run."""
    folder = tmp_path_factory.mktemp("experiment")
    source = {"kind": "local", "path": str(real_model_dir)}
    entry = {"source": source, "chat": True, "parameters": 134515008}
    registry = {"models": {"small": entry, "small-nf4": entry | {"precision": "nf4"}}}
    (folder / "models.yaml").write_text(yaml.safe_dump(registry))
    (folder / "asking.yaml").write_text("question: 'Seed {{ seed }}: {{ percents[0] }} or {{ percents[1] }}?'\n")
    config = {
        "models": ["small"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 24, "eval_samples": 4},
            "own": {"kind": "random_words", "eval_samples": 2, "template": "asking.yaml"},
        },
        "adapters": {
            "tuned": {"cases": {"given": 24}, "steps": 2, "batch_size": 2, "held_out_samples": 2, "log_every": 1},
        },
    }
    return Workspace(folder, config)


@pytest.fixture(scope="session")
def finished(workspace: Workspace) -> tuple[Workspace, Run]:
    """The experiment, run from nothing to its tables, and what the run printed."""
    run = workspace.snakemake()
    assert run.code == 0, run.output
    return workspace, run


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
