"""Every further evaluation at once, on a tiny model, through Snakemake; and what of it stands in the results."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from workspace import Workspace

RECIPE = {
    "cases": {"given": 24},
    "steps": 4,
    "batch_size": 4,
    "held_out_samples": 2,
    "log_every": 2,
    "measure_every": 2,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Workspace:
    folder = tmp_path_factory.mktemp("further")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    entry = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry}}))
    (folder / "own.txt").write_text("mast\nskart\nmoot\nnostra\nrank\nstork\n")
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 24, "eval_samples": 6},
            "listed": {"kind": "given_words", "vocabulary": "own.txt", "eval_samples": 4, "eval_fraction": 0.1},
            "letters": {"kind": "given_words", "vocabulary": "letters", "eval_samples": 4, "eval_fraction": 0.5},
            "phrases": {"kind": "given_words", "vocabulary": "phrases", "eval_samples": 4},
            "successive": {"kind": "successive_words", "eval_samples": 4},
            "limits": {"kind": "suppression", "eval_samples": 4},
        },
        "adapters": {
            "tuned": {**RECIPE, "retention_weight": 0.1, "retention_prompts": 2},
            "shuffled": {**RECIPE, "targets": "shuffled"},
        },
        "sweeps": {"seeds": {"base": "tuned", "vary": {"seed": [1, 2]}}},
        "base_model_deviation": {"samples": 4, "max_new_tokens": 40},
        "retention": {"prompts": 3, "answer_tokens": 4},
        "agreement": {"cases": ["given"], "samples": 2, "draws": 20},
        "temperature_scaling": {"case": "given", "samples": 8},
        "resources": {"gpu": 0, "threads": 1},
    }
    # Of the listed words, one and five would be too few for one of the splits.
    config["cases"]["listed"]["eval_fraction"] = 0.1
    return Workspace(folder, config)


@pytest.fixture(scope="module")
def results(workspace: Workspace) -> Path:
    run = workspace.snakemake()
    assert run.code == 0, run.output
    return workspace.results


def test_smoke(results: Path) -> None:
    assert results.is_dir()
