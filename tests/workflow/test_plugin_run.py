"""An experiment of plug-ins alone, from fetching the model to the tables: by hand, and through Snakemake."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from workspace import Workspace

from outctl.config.plugins import load_plugins
from plugin_examples import write_plugins

DAYS = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
VARIANTS = ["baseline", "own", "plain"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Iterator[Workspace]:
    """The experiment, each job of which up to the tables was run by its command."""
    folder = tmp_path_factory.mktemp("plugins")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    entry = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry}}))
    recipe = {"cases": {"days": 16}, "steps": 2, "batch_size": 4, "held_out_samples": 2, "log_every": 1}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "plugins": write_plugins(folder, "weekdays.py", "hellinger.py", "colours.py"),
        "cases": {
            "days": {"kind": "weekdays", "template": "given_words", "train_samples": 16, "eval_samples": 16},
            "paint": {"kind": "given_words", "vocabulary": "colours", "eval_fraction": 0.9, "eval_samples": 12},
        },
        "adapters": {
            "own": recipe | {"loss": "hellinger", "checkpoint_every": 1},
            "plain": recipe | {"checkpoint_every": 1},
        },
        "resources": {"gpu": 0, "threads": 1},
    }
    workspace = Workspace(folder, config)
    workspace.every_command("figures", "report")
    yield workspace
    load_plugins([])


def records(workspace: Workspace, variant: str, case: str) -> list[dict[str, Any]]:
    file = workspace.results / "evaluations" / "tiny" / variant / f"{case}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def hellinger(record: dict[str, Any]) -> float:
    pairs = zip(record["probabilities"], record["target"], strict=True)
    return 0.5 * (sum((math.sqrt(p) - math.sqrt(t)) ** 2 for p, t in pairs) + record["other_mass"])


def case_table(workspace: Workspace) -> pd.DataFrame:
    table = pd.read_csv(workspace.results / "output_control_simple_metrics.csv")
    return table.set_index(["variant", "case_type"])


def test_a_kind_of_a_plugin_is_asked_and_stands_in_the_tables(workspace: Workspace) -> None:
    assert {word for record in records(workspace, "baseline", "days") for word in record["words"]} <= DAYS
    assert case_table(workspace).loc[[(variant, "days") for variant in VARIANTS], "num_trials"].tolist() == [16] * 3


def test_a_vocabulary_of_a_plugin_is_asked_and_stands_in_the_tables(workspace: Workspace) -> None:
    words = {word for record in records(workspace, "baseline", "paint") for word in record["words"]}
    assert {word.split()[0] for word in words} <= {"dark", "light", "pale"}
    assert case_table(workspace).loc[[(variant, "paint") for variant in VARIANTS], "num_trials"].tolist() == [12] * 3


def test_a_loss_of_a_plugin_is_what_is_trained_on(workspace: Workspace) -> None:
    own, plain = (
        [
            json.loads(line)["loss"]
            for line in (workspace.results / "adapters" / "tiny" / name / "training.jsonl").open()
        ]
        for name in ("own", "plain")
    )
    # A tiny model hardly says one of the words: where it never does, the distance is 1 and the divergence has no bound.
    assert own[0] == pytest.approx(1.0, abs=0.01)
    assert plain[0] > 2.0
    assert records(workspace, "own", "days") != records(workspace, "plain", "days")


def test_a_metric_of_a_plugin_has_its_columns(workspace: Workspace) -> None:
    table = case_table(workspace)
    for variant in VARIANTS:
        for case in ("days", "paint"):
            values = [hellinger(record) for record in records(workspace, variant, case)]
            row = table.loc[(variant, case)]
            assert row["avg_hellinger"] == pytest.approx(sum(values) / len(values), abs=1e-9)
        # Every pair of the three colours' shades shares a word with every other pair, so only days have intervals.
        row = table.loc[(variant, "days")]
        assert row["avg_hellinger_low"] <= row["avg_hellinger"] <= row["avg_hellinger_high"]
    assert (table["avg_hellinger"] > 0).all()


@pytest.mark.slow
def test_the_workflow_writes_what_the_commands_write_and_reruns_what_an_edit_makes_stale(workspace: Workspace) -> None:
    other = Workspace(workspace.folder.parent / "plugins-by-snakemake", workspace.config)
    other.folder.mkdir()
    for name in ("models.yaml", *workspace.config["plugins"]):
        shutil.copy(workspace.folder / name, other.folder)
    run = other.snakemake()
    assert run.code == 0, run.output
    for file in workspace.results.glob("*.csv"):
        assert (other.results / file.name).read_bytes() == file.read_bytes(), file
    assert other.stale() == {}
    plugin = other.folder / "hellinger.py"
    plugin.write_text(plugin.read_text().replace("0.5 * (((", "0.25 * ((("))
    last = dict.fromkeys(("aggregate_model", "aggregate", "figures", "report"), 1)
    assert other.stale() == {"finetune": 1, "evaluate": 2, **last}
    plugin.write_text("x = 1\n")
    run = other.snakemake("--dry-run")
    assert run.code == 1
    assert (
        "outctl: hellinger.py: registers nothing; see docs/how-to/own-case.md for what a plug-in looks like"
        in run.output
    )
    assert "Traceback" not in run.output
