import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from workspace import ROOT, Run, Workspace

Finished = tuple[Workspace, Run]


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a configuration in which one key, given with dots, has another value."""
    config = json.loads(json.dumps(config))
    *sections, key = path.split(".")
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = value
    return config


def test_a_run_goes_from_the_models_name_to_tables_and_figures(finished: Finished) -> None:
    workspace, run = finished
    table = pd.read_csv(workspace.results / "output_control_simple_metrics.csv")
    rows = set(zip(table["model"], table["variant"], table["case_type"], strict=True))
    assert {("tiny", variant, case) for variant in ("baseline", "tuned") for case in ("given", "own")} <= rows
    for name in (
        "output_control_results.csv",
        "output_control_combined_results.json",
        "output_control_results_tiny.json",
        "figures/calibration.svg",
        "figures/tvd.svg",
        "report.html",
        "adapters/tiny/tuned/adapter_model.safetensors",
        "adapters/tiny/tuned/training.jsonl",
        "evaluations/tiny/baseline/own.jsonl",
        "samples/given/train.jsonl",
        "logs/finetune/tiny/tuned.log",
        "benchmarks/evaluate/tiny/tuned/own.tsv",
        "benchmarks/report/all.tsv",
    ):
        assert (workspace.results / name).stat().st_size > 0 or name.endswith(".log")
    assert "Baseline against adapter" in run.output
    assert "results/output_control_results.csv" in run.output


@pytest.mark.slow
def test_figures_are_drawn_again_from_their_numbers_alone(finished: Finished, tmp_path: Path) -> None:
    figures = finished[0].results / "figures"
    for file in figures.glob("*.csv"):
        shutil.copy(file, tmp_path)
    command = [sys.executable, "-m", "outctl", "figures", "--from-csv", str(tmp_path)]
    # Away from configuration and results.
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    drawn = {file.name: file.read_bytes() for file in tmp_path.glob("*.svg")}
    assert drawn == {file.name: file.read_bytes() for file in figures.glob("*.svg")}
    assert len(drawn) == len(result.stdout.splitlines()) >= 4


@pytest.mark.slow
def test_trainings_of_the_workflow_show_their_curves_and_these_are_no_output(finished: Finished) -> None:
    workspace, _ = finished
    events = workspace.results / "tensorboard" / "tiny" / "tuned"
    assert max(file.stat().st_size for file in events.iterdir()) > 0
    shutil.rmtree(events.parent.parent)
    assert workspace.stale() == {}
    # Nor does it matter who else is told.
    assert workspace.stale(logging={"project": "another"}) == {}


@pytest.mark.slow
def test_a_service_that_is_not_installed_stops_the_workflow_with_one_line(finished: Finished) -> None:
    workspace, _ = finished
    absent = [name for name in ("mlflow", "trackio", "wandb") if find_spec(name) is None]
    if not absent:
        pytest.skip("every service is installed")
    run = workspace.snakemake(logging={"report_to": [absent[0]]}, results_dir="unmade")
    assert run.code != 0
    assert f"outctl: logging.report_to: {absent[0]} is not installed; run `pip install {absent[0]}`" in run.output
    assert not (workspace.folder / "unmade").exists()


@pytest.mark.slow
def test_the_report_holds_every_figure_and_table_with_its_caption(finished: Finished) -> None:
    workspace, _ = finished
    run = workspace.snakemake("--report", "report.zip")
    assert run.code == 0, run.output
    with zipfile.ZipFile(workspace.folder / "report.zip") as archive:
        held = {Path(name).name: archive.read(name) for name in archive.namelist()}
    text = held.pop("report.html").decode()
    shown = [*workspace.results.glob("figures/*.svg"), *workspace.results.glob("*.csv")]
    assert held == {file.name: file.read_bytes() for file in shown}
    for file in shown:
        caption = (ROOT / "src" / "outctl" / "workflow" / "report" / f"{file.stem}.rst").read_text()
        # Up to the first character that HTML or a markup writes otherwise.
        assert re.split(r"[`'<>&]", caption)[0].strip() in text, file.name


def test_a_model_is_loaded_once_a_variant(finished: Finished) -> None:
    logs = finished[0].results / "logs" / "evaluate" / "tiny"
    for variant in ("baseline", "tuned"):
        texts = [file.read_text() for file in (logs / variant).glob("*.log")]
        assert sorted("finished by another start" in text for text in texts) == [False, True]
        assert sorted("made too, since the model was loaded" in text for text in texts) == [False, True]


def test_right_after_a_run_nothing_is_to_be_done(finished: Finished) -> None:
    assert finished[0].stale() == {}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(finished: Finished) -> None:
    workspace, _ = finished
    # The report is made of the same, and has a test of its own for it.
    again = workspace.snakemake("again/output_control_results.csv", "again/figures/tvd.svg", results_dir="again")
    assert again.code == 0, again.output
    for name in ("output_control_results.csv", "output_control_simple_metrics.csv"):
        assert (workspace.folder / "again" / name).read_bytes() == (workspace.results / name).read_bytes()
    for name in ("samples/given/train.jsonl", "adapters/tiny/tuned/adapter_model.safetensors", "figures/tvd.svg"):
        assert (workspace.folder / "again" / name).read_bytes() == (workspace.results / name).read_bytes()


@pytest.mark.slow
def test_the_same_weights_in_4_bits_make_their_own_jobs_stale_and_no_others(finished: Finished) -> None:
    jobs = finished[0].stale(models=["tiny", "tiny-nf4"])
    assert jobs == {
        "fetch_model": 1,
        "finetune": 1,
        "evaluate": 4,
        "aggregate_model": 1,
        "aggregate": 1,
        "figures": 1,
        "report": 1,
    }


@pytest.mark.slow
def test_samples_of_other_settings_are_refused_by_a_job(finished: Finished) -> None:
    workspace, _ = finished
    (file,) = (workspace.results / "specs" / "evaluate" / "tiny" / "baseline").glob("own@*.json")
    spec = json.loads(file.read_text())
    spec["upstream"]["make-samples/own/eval"] = "0" * 64
    other = workspace.folder / "other.json"
    other.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "outctl", "evaluate", "tiny", "baseline", "own", "--spec", str(other)]
    command += [
        "--model-dir",
        "models/tiny",
        "--samples",
        "results/samples/own/eval.jsonl",
        "--output",
        "unmade.jsonl",
        "--checkpoints",
        "checkpoints",
    ]
    result = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "results/samples/own: made from other settings or code than the current ones" in result.stderr


@pytest.mark.slow
def test_a_deleted_output_is_made_again(finished: Finished) -> None:
    workspace, _ = finished
    file = workspace.results / "figures" / "tvd.svg"
    content = file.read_bytes()
    file.unlink()
    try:
        assert workspace.stale() == {"figures": 1, "report": 1}
    finally:
        assert workspace.snakemake().code == 0
    assert file.read_bytes() == content


@pytest.mark.slow
def test_a_mistake_in_the_configuration_stops_the_workflow_with_one_line(finished: Finished) -> None:
    workspace, _ = finished
    elsewhere = {**changed(workspace.config, "cases.own.eval_sample", 3), "results_dir": "unmade"}
    run = workspace.snakemake(**elsewhere)
    assert run.code != 0
    (line,) = [line for line in run.output.splitlines() if not line.startswith("Using workflow specific profile")]
    assert line.startswith("outctl: ")
    assert "experiment.yaml: cases.own.eval_sample: unknown key; did you mean 'eval_samples'?" in line
    assert not (workspace.folder / "unmade").exists()


@pytest.mark.slow
def test_a_failed_job_shows_the_last_lines_of_its_log(finished: Finished) -> None:
    workspace, _ = finished
    weights = workspace.folder / "broken"
    weights.mkdir()
    registry = (workspace.folder / "models.yaml").read_text()
    entry = "\n  broken: {source: {kind: local, path: broken}, chat: true, parameters: 1}\n"
    (workspace.folder / "more.yaml").write_text(registry + entry)
    run = workspace.snakemake(models=["broken"], registry="more.yaml", results_dir="failed")
    shutil.rmtree(workspace.folder / "failed")
    assert run.code != 0
    assert "outctl: model broken: broken holds no safetensors weights" in run.output
    assert not (workspace.folder / "models" / "broken").exists()


@pytest.mark.slow
def test_the_slurm_profile_plans_the_default_experiment(finished: Finished) -> None:
    workspace, _ = finished
    folder = workspace.folder / "checkout"
    folder.mkdir()
    for name in ("Snakefile", "config", "slurm", "profiles", "src"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--dry-run"]
    result = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "finetune" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "config/controls",
        "config/generalisation",
        "config/seed-models",
        "config/sweeps",
        "config/wordings",
        ".test/config/config",
    ],
)
def test_further_experiments_are_planned(name: str) -> None:
    from outctl.config.reading import read_yaml
    from outctl.stages.dag import load_plan

    file = ROOT / f"{name}.yaml"
    data = read_yaml(file) | {"registry": str(ROOT / "config" / "models.yaml")}
    plan = load_plan(data, [file])
    assert {job[0] for job in plan.jobs()} >= {"fetch-model", "finetune", "evaluate", "aggregate"}


def test_the_full_experiment_names_every_model_of_the_hub_in_the_registry() -> None:
    from outctl.config.loading import load_registry
    from outctl.config.reading import read_yaml

    registry = load_registry(ROOT / "config" / "models.yaml")
    hub = [name for name, entry in registry.models.items() if entry.source.kind == "hub"]
    assert read_yaml(ROOT / "config" / "seed-models.yaml")["models"] == hub
    assert all(registry.models[name].precision == "nf4" for name in hub)
