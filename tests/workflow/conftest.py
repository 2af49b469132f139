"""A small experiment on the embedded model's real weights, run once through Snakemake and looked at by many tests."""

from pathlib import Path

import pytest
import yaml
from staleness_report import CHECKED, markdown, write_between
from workspace import Run, Workspace


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--staleness-table", type=Path, metavar="FILE", help="print the staleness table, and write it there"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(CHECKED, [])
    # Unknown where these tests are collected by way of a directory above.
    if rows and (file := config.getoption("--staleness-table", default=None)):
        terminalreporter.write_line(markdown(rows))
        write_between(file, markdown(rows))


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
