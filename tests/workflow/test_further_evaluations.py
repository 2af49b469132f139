"""Every evaluation at once, on a tiny model: what each command writes, and that the workflow writes the same."""

import json
import re
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from workspace import Workspace

from outctl.stages.dag import STAGES

RECIPE = {
    "cases": {"given": 24},
    "steps": 4,
    "batch_size": 4,
    "held_out_samples": 2,
    "log_every": 2,
    "measure_every": 2,
}
VARIANTS = ["baseline", "temperature", "tuned", "seeds-1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Workspace:
    folder = tmp_path_factory.mktemp("further")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    entry = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry}}))
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 24, "eval_samples": 6},
            "letters": {"kind": "given_words", "vocabulary": "letters", "eval_samples": 4, "eval_fraction": 0.5},
            "limits": {"kind": "suppression", "eval_samples": 4},
        },
        "adapters": {"tuned": {**RECIPE, "retention_weight": 0.1, "retention_prompts": 2}},
        "sweeps": {"seeds": {"base": "tuned", "vary": {"seed": [1]}}},
        "base_model_deviation": {"samples": 2, "max_new_tokens": 20},
        "retention": {"prompts": 3, "answer_tokens": 4},
        "agreement": {"cases": ["letters"], "samples": 2, "draws": 200},
        "temperature_scaling": {"case": "given", "samples": 8},
        "comparisons": {"adapters": {"tuned": ["seeds-1"]}},
        "resources": {"gpu": 0, "threads": 1},
    }
    return Workspace(folder, config)


@pytest.fixture(scope="module")
def results(workspace: Workspace) -> Path:
    """What the commands of all jobs write, one after the other."""
    workspace.every_command()
    return workspace.results


@pytest.fixture(scope="module")
def through_snakemake(workspace: Workspace) -> Workspace:
    """The same experiment, run by the workflow."""
    other = Workspace(workspace.folder.parent / "further-by-snakemake", workspace.config)
    other.folder.mkdir()
    shutil.copy(workspace.folder / "models.yaml", other.folder)
    run = other.snakemake()
    assert run.code == 0, run.output
    # Snakemake says so, and goes on, where a rule cannot make what another one makes.
    assert "Exception" not in run.output
    assert "Traceback" not in run.output
    return other


@pytest.fixture(scope="module")
def combined(results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / "output_control_combined_results.json").read_text())
    return content


@pytest.mark.slow
def test_the_workflow_writes_what_the_commands_write(through_snakemake: Workspace, results: Path) -> None:
    for folder, pattern in (
        ("", "*.csv"),
        ("evaluations", "**/*.jsonl"),
        ("adapters", "**/*.safetensors"),
        ("figures", "*.svg"),
    ):
        files = [
            file.relative_to(results) for file in (results / folder).glob(pattern) if "provenance" not in file.name
        ]
        assert files
        for file in files:
            assert (through_snakemake.results / file).read_bytes() == (results / file).read_bytes(), file


@pytest.mark.slow
def test_a_run_behind_a_run_does_nothing(through_snakemake: Workspace) -> None:
    assert through_snakemake.stale() == {}


def test_every_variant_stands_in_the_case_table(results: Path) -> None:
    table = pd.read_csv(results / "output_control_simple_metrics.csv")
    measured = table[table["model"] == "tiny"]
    assert measured["variant"].tolist() == VARIANTS * 3
    assert measured.set_index("variant")["fine_tuned"].groupby(level=0).first().to_dict() == {
        "baseline": False,
        "temperature": False,
        "tuned": True,
        "seeds-1": True,
    }


def test_the_best_temperature_brings_the_baseline_nearer_in_what_it_was_fitted_for(
    results: Path, combined: dict[str, Any]
) -> None:
    fit = combined["temperatures"]["tiny"]
    assert fit["kl_after"] < fit["kl_before"]
    # Its records were measured at that temperature, and not at 1.
    baseline, scaled = (
        [json.loads(line) for line in (results / f"evaluations/tiny/{name}/given.jsonl").read_text().splitlines()]
        for name in ("baseline", "temperature")
    )
    assert all(
        sum(hot["probabilities"]) > sum(cold["probabilities"]) for cold, hot in zip(baseline, scaled, strict=True)
    )


def test_limits_are_summarised(results: Path) -> None:
    table = pd.read_csv(results / "output_control_simple_metrics.csv").set_index(["variant", "case_type"])
    baseline = map(json.loads, (results / "evaluations/tiny/baseline/limits.jsonl").read_text().splitlines())
    binding = sum(record["free_share"] > record["target"][0] for record in baseline)
    assert table.loc[("tuned", "limits"), "num_binding"] == binding
    assert pd.isna(table.loc[("tuned", "limits"), "control_slope"])
    assert pd.isna(table.loc[("tuned", "given"), "num_binding"])


def test_repeats_and_sweeps_stand_in_their_tables(results: Path, combined: dict[str, Any]) -> None:
    seeds = pd.read_csv(results / "output_control_seeds.csv")
    assert seeds["case_type"].tolist() == ["given", "letters", "limits"]
    assert (seeds["num_seeds"] == 2).all()
    assert combined["sweeps"] == {"seeds": {"seeds-1": {"seed": "1"}}}
    first, second = (
        (results / f"adapters/tiny/{name}/adapter_model.safetensors").read_bytes() for name in ("tuned", "seeds-1")
    )
    assert first != second


def test_further_evaluations_stand_in_tables_and_combined_results(results: Path, combined: dict[str, Any]) -> None:
    for name, file, variants in (
        ("base_model_deviation", "base_model_deviation_results.csv", ["baseline", "tuned", "seeds-1"]),
        ("retention", "retention_results.csv", ["tuned", "seeds-1"]),
        ("agreement", "sampling_agreement_results.csv", ["baseline", "tuned", "seeds-1"]),
    ):
        assert [row["variant"] for row in combined[name]] == variants
        assert pd.read_csv(results / file)["variant"].tolist() == variants
    assert all(row["kl"] > 0.0 for row in combined["retention"])
    assert "retention_kl" in (results / "adapters/tiny/tuned/training.jsonl").read_text()


def test_every_table_is_in_the_combined_results_too(results: Path, combined: dict[str, Any]) -> None:
    for name, file in (
        ("summaries", "output_control_simple_metrics.csv"),
        ("overall", "output_control_results.csv"),
        ("matrix", "output_control_matrix.csv"),
        ("comparisons", "output_control_comparisons.csv"),
        ("seeds", "output_control_seeds.csv"),
        ("learning_curves", "output_control_learning_curves.csv"),
        ("base_model_deviation", "base_model_deviation_results.csv"),
        ("agreement", "sampling_agreement_results.csv"),
        ("retention", "retention_results.csv"),
        ("retention_positions", "retention_by_position.csv"),
    ):
        table = pd.read_csv(results / file)
        kept = pd.read_json(StringIO(json.dumps(combined[name]))).replace("", float("nan"))
        kept = kept[[column for column in table if column in kept]]
        assert len(kept) > 0, name
        # References stand first in the table, and where they were computed in the JSON.
        names = [column for column in ("model", "variant", "case_type", "against_variant") if column in kept]
        kept, written = (
            frame.sort_values(names, kind="stable", ignore_index=True) for frame in (kept, table[kept.columns])
        )
        pd.testing.assert_frame_equal(kept, written, check_dtype=False, rtol=1e-6, atol=1e-9)


def test_adapters_are_compared_as_configured(results: Path) -> None:
    table = pd.read_csv(results / "output_control_comparisons.csv")
    adapters = table[table["against_variant"] == "seeds-1"]
    assert adapters[["variant", "case_type"]].to_numpy().tolist() == [
        ["tuned", case] for case in ("given", "letters", "limits")
    ]


def test_learning_curves_have_what_was_measured_while_training(results: Path) -> None:
    curves = pd.read_csv(results / "output_control_learning_curves.csv")
    assert curves["variant"].tolist() == ["tuned", "tuned", "seeds-1", "seeds-1"]
    assert curves["samples"].tolist() == [8, 16, 8, 16]


def test_figures_are_drawn_for_all_of_it(results: Path) -> None:
    names = {file.stem for file in (results / "figures").glob("*.svg")}
    assert names == {
        *("calibration", "tvd", "matrix", "learning_curves"),
        *("sweeps", "retention", "retention_positions", "deviation"),
    }


def test_the_report_has_all_of_it(results: Path) -> None:
    text = (results / "report.html").read_text()
    for name in ("loss", "learning_curves", "sweeps", "retention", "deviation"):
        assert f'data-figure="{name}"' in text
    for heading in ("Repeats over seeds", "Do sampled answers agree", "Best temperature of the baseline"):
        assert heading in text


@pytest.mark.slow
def test_the_report_has_what_each_step_took(through_snakemake: Workspace) -> None:
    text = (through_snakemake.results / "report.html").read_text()
    rows = json.loads(re.search(r'id="step-rows">(.*?)</script>', text, re.DOTALL)[1])
    # The report is not made yet when it is written, and no adapter comes from elsewhere.
    assert {row["stage"] for row in rows} == set(STAGES) - {"report", "fetch-adapter"}
    assert all(row["wall_s"] > 0.0 for row in rows)
    assert (through_snakemake.results / "benchmarks" / "report" / "all.tsv").is_file()


def test_what_is_not_configured_gives_one_line(workspace: Workspace, results: Path) -> None:
    (workspace.folder / "bare.yaml").write_text(
        yaml.safe_dump({key: value for key, value in workspace.config.items() if key != "retention"})
    )
    run = workspace.outctl("evaluate-retention", "tiny", "tuned", "--config", "bare.yaml")
    assert run.code == 1
    assert run.output.splitlines() == [
        "outctl: the configuration has no section retention; without it there is nothing to do here"
    ]
