"""Where trainings show their curves: event files read back by TensorBoard itself, services where they are installed."""

import importlib
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import ByHand
from outctl.errors import OutctlError
from outctl.finetune.trainer import LOGGED
from outctl.pipeline.environments import check_services
from outctl.stages.dag import load_plan
from outctl.stages.finetune import run as train_adapter
from outctl.stages.finetune import training_files
from outctl.storage.files import read_jsonl

FINETUNE = ("finetune", "tiny", "tuned")
ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "training.jsonl")
Curves = dict[str, list[tuple[int, float]]]


def curves(folder: Path) -> Curves:
    """Steps and values of every curve, as TensorBoard shows them; those of a training's log alone."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag.removeprefix("train/"): [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
        if tag.removeprefix("train/") in LOGGED
    }


def logged(adapter: Path) -> Curves:
    """The same from `training.jsonl`; what is undefined there is NaN on the curve."""
    found: Curves = {}
    for row in read_jsonl(adapter / "training.jsonl"):
        for key in LOGGED:
            if key in row:
                found.setdefault(key, []).append((row["step"], float("nan") if row[key] is None else row[key]))
    return found


def check_alike(found: Curves, expected: Curves) -> None:
    assert found.keys() == expected.keys()
    for name, points in expected.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        # Event files hold single precision.
        values = [value for _, value in points]
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6, nan_ok=True), name


@pytest.mark.slow
def test_event_files_hold_what_the_training_log_holds_and_change_no_byte_of_the_adapter(
    by_hand: Callable[..., ByHand],
) -> None:
    experiment = by_hand({"measure_every": 14, "retention_weight": 0.1, "dropout": 0.1})
    plan, layout = experiment.plan, experiment.plan.layout
    code, _, error = experiment.run(*FINETUNE)
    assert code == 0
    assert re.fullmatch(r"(\d+ of 60 steps\n)*", error), error
    adapter = layout.adapter("tiny", "tuned")
    shown = curves(layout.tensorboard("tiny", "tuned"))
    assert {"loss", "held_out_tvd", "held_out_slope", "retention_kl"} <= shown.keys()
    check_alike(shown, logged(adapter))
    plain = experiment.folder / "plain"
    spec = plan.spec("finetune", "tiny", "tuned")
    train_adapter(
        spec,
        layout.model("tiny"),
        training_files(layout, plan.recipes["tuned"].cases),
        plain,
        experiment.folder / "checkpoints",
    )
    for name in ADAPTER:
        assert (plain / name).read_bytes() == (adapter / name).read_bytes(), name


@pytest.mark.slow
def test_the_curves_of_a_training_that_was_cut_off_have_every_step_once(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 150, "measure_every": 14})
    layout = experiment.plan.layout
    events = layout.tensorboard("tiny", "tuned")
    process = experiment.start(*FINETUNE)
    while not list(layout.checkpoints().glob("*/checkpoint-*/seal.json")) and process.poll() is None:
        time.sleep(0.01)
    # Some lines beyond the checkpoint, which the next start logs again.
    time.sleep(0.1)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, _, error = experiment.run(*FINETUNE)
    assert code == 0, error
    check_alike(curves(events), logged(layout.adapter("tiny", "tuned")))
    # Whoever reads the files without TensorBoard's rules sees no step twice either.
    assert [file.stat().st_size > 0 for file in sorted(events.iterdir())] == [False, True]


@pytest.mark.slow
def test_curves_of_other_settings_make_room_and_an_open_tensorboard_forgets_them(
    by_hand: Callable[..., ByHand],
) -> None:
    experiment = by_hand({"steps": 20})
    layout = experiment.plan.layout
    assert experiment.run(*FINETUNE)[0] == 0
    events = layout.tensorboard("tiny", "tuned")
    open_since_then = EventAccumulator(str(events), size_guidance={"scalars": 0})
    open_since_then.Reload()
    assert [event.step for event in open_since_then.Scalars("train/loss")] == list(range(2, 21, 2))
    config = experiment.folder / "config" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 20", "steps: 12").replace("log_every: 2", "log_every: 1"))
    code, _, error = experiment.run(*FINETUNE, "--output", "other")
    assert code == 0, error
    check_alike(curves(events), logged(experiment.folder / "other"))
    open_since_then.Reload()
    assert [event.step for event in open_since_then.Scalars("train/loss")] == list(range(1, 13))


def test_no_specification_depends_on_where_curves_are_shown(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand()
    file = experiment.folder / "config" / "config.yaml"
    config = json.loads(json.dumps(experiment.plan.experiment.model_dump(mode="json")))
    logging = {"report_to": ["wandb", "mlflow"], "project": "another"}
    other = load_plan(config | {"logging": logging}, [file])
    assert {job: other.spec(*job).hash for job in other.jobs()} == {
        job: experiment.plan.spec(*job).hash for job in experiment.plan.jobs()
    }


@pytest.mark.slow
def test_a_service_that_is_not_installed_is_one_line(by_hand: Callable[..., ByHand]) -> None:
    with pytest.raises(OutctlError, match=r"^logging.report_to: trackio is not among the packages of the jobs'"):
        check_services(["wandb", "trackio"], {"wandb": "0.31"})
    experiment = by_hand()
    # A name that no package has here.
    code, _, error = experiment.run(*FINETUNE, "--report-to", "wandbb")
    assert (code, error) == (1, "outctl: there is no service 'wandbb'; did you mean 'wandb'?\n")
    absent = [name for name in ("mlflow", "trackio", "wandb") if importlib.util.find_spec(name) is None]
    if not absent:
        pytest.skip("every service is installed")
    code, _, error = experiment.run(*FINETUNE, "--report-to", absent[0])
    assert code == 1
    assert error.startswith(f"outctl: logging.report_to: {absent[0]} is not installed; run `pip install {absent[0]}`")
    assert error.count("\n") == 1
    assert not experiment.plan.layout.tracking().exists()


def wandb_points(folder: Path) -> list[tuple[int, float]]:
    """Steps and losses of the one offline run: its file holds them as JSON, in order, and again in the run's summary."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    losses = dict.fromkeys(re.findall(rb"train/loss\x82\x01.([\d.e-]+)", content, re.DOTALL))
    steps = dict.fromkeys(re.findall(rb"train/global_step\x82\x01.(\d+)", content, re.DOTALL))
    return [(int(step), float(loss)) for step, loss in zip(steps, losses, strict=True)]


def mlflow_points(folder: Path) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "paper"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tiny/tuned"
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")]


def trackio_points(folder: Path) -> list[tuple[int, float]]:
    import sqlite3

    with sqlite3.connect(folder / "trackio" / "paper.db") as database:
        rows = database.execute("SELECT metrics FROM metrics WHERE run_name = 'tiny/tuned' ORDER BY step")
        found = [json.loads(metrics) for (metrics,) in rows]
    return [(row["train/global_step"], row["train/loss"]) for row in found if "train/loss" in row]


READERS: dict[str, Callable[[Path], list[tuple[int, float]]]] = {
    "mlflow": mlflow_points,
    "trackio": trackio_points,
    "wandb": wandb_points,
}


@pytest.mark.parametrize("service", list(READERS))
def test_a_service_is_told_the_same_without_a_network(by_hand: Callable[..., ByHand], service: str) -> None:
    pytest.importorskip(service, reason=f"{service} is not installed, and outctl does not need it")
    logging: dict[str, Any] = {"report_to": [service], "project": "paper"}
    experiment = by_hand({"steps": 12}, logging=logging)
    layout = experiment.plan.layout
    code, _, error = experiment.run(*FINETUNE)
    assert code == 0, error
    found = READERS[service](layout.tracking())
    check_alike({"loss": found}, {"loss": logged(layout.adapter("tiny", "tuned"))["loss"]})
