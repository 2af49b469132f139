"""Adapters that were trained elsewhere, in figures and report."""

from pathlib import Path

import pytest
from fake_run import BASE, finished, parts

from outctl.report.figure import Measured
from outctl.report.page import shown_figures
from outctl.report.registry import FIGURES
from outctl.stages.figures import figure_names


@pytest.mark.slow
def test_an_adapter_from_elsewhere_is_shown_of_its_models_alone(tmp_path: Path) -> None:
    source = {"kind": "hub", "repo": "lab/adapter", "revision": "1" * 40}
    adapters = {"foreign": {"source": source, "models": ["small"]}, "tuned": BASE}
    plan = finished(tmp_path, adapters=adapters, sweeps={}, agreement=None)
    found = parts(plan)
    measured = Measured(found.results, found.settings, found.logs)
    shown = {}
    for name, figure in FIGURES.items():
        of = [(row["model"], row["variant"]) for row in figure.rows(measured)]
        shown[name] = {model: {variant for of_model, variant in of if of_model == model} for model in plan.models}
    trainings = {"learning_curves", "loss"}
    for name in shown.keys() - trainings - {"sweeps"}:
        assert shown[name]["small"] - shown[name]["large"] == {"foreign"}, name
    assert all(shown[name] == {"small": {"tuned"}, "large": {"tuned"}} for name in trainings)
    assert {row["case_type"] for row in FIGURES["retention"].rows(measured)} == {"given"}
    page = found.render()
    assert "all of 3 adapters of 2 models" in page
    assert f"lab/adapter at revision {'1' * 40}" in page


@pytest.mark.slow
def test_where_no_adapter_is_trained_nothing_shows_a_training(tmp_path: Path) -> None:
    foreign = {"foreign": {"source": {"kind": "local", "path": "foreign"}}}
    plan = finished(tmp_path, models=["small"], adapters=foreign, sweeps={}, retention=None, agreement=None)
    assert "matrix" in figure_names(plan)
    assert not {"learning_curves", "sweeps"} & set(figure_names(plan))
    found = parts(plan)
    assert not {"learning_curves", "loss", "sweeps"} & set(shown_figures(Measured(found.results, found.settings)))
    assert "What did training do?" not in found.render()
