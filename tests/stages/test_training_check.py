"""What planning says of recipes that leave few samples to train on, and of precisions that none trains in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import ByHand
from in_process import train
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.stages import training_check
from outctl.stages.dag import load_plan
from outctl.stages.training_check import training_notes

WORDS = ["ark", "atom", "bell", "corn", "dust", "echo", "fern", "gold", "hail", "iron", "jade", "kelp", "lime", "mint"]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plan an experiment whose case draws from a list of fourteen words."""

    def make(precision: str = "auto", case: dict[str, Any] | None = None, **recipe: Any) -> Plan:
        monkeypatch.chdir(tmp_path)
        Path("words.txt").write_text("\n".join(WORDS))
        model = {"source": {"kind": "local", "path": "weights"}, "chat": True, "precision": precision}
        Path("models.yaml").write_text(yaml.safe_dump({"models": {"tiny": model}}))
        given = {
            "kind": "given_words",
            "vocabulary": "words.txt",
            "train_samples": 500,
            "eval_samples": 2,
            "eval_fraction": 0.45,
        }
        experiment = {
            "models": ["tiny"],
            "registry": "models.yaml",
            "cases": {"given": given | (case or {})},
            "adapters": {"tuned": {"cases": {"given": 500}, "steps": 2} | recipe},
        }
        plan = load_plan(experiment, [])
        plan.inspect()
        return plan

    return make


def test_a_short_list_whose_words_are_all_kept_back_is_refused(plan: Callable[..., Plan]) -> None:
    with pytest.raises(
        OutctlError, match=r"^adapters\.tuned: no sample of given is left to train on: held_out_samples: 32"
    ):
        training_notes(plan())


def test_fewer_samples_than_half_are_noted(plan: Callable[..., Plan]) -> None:
    (note,) = training_notes(plan(held_out_samples=3, batch_size=4))
    assert note == (
        "outctl: note: adapters.tuned: trains on 96 of its 500 samples: 3 are held back, and 401 share a word with those; "
        "take a larger vocabulary, or lower held_out_samples"
    )


def test_a_long_list_is_told_by_its_length(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_check, "first_samples", None)
    assert training_notes(plan(case={"vocabulary": "common"})) == []


def test_an_adapter_that_is_trained_is_not_looked_at_again(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 2, "held_out_samples": 20})
    experiment.plan.inspect()
    (note,) = training_notes(experiment.plan)
    assert "of its 32 samples: 20 are held back" in note
    train(experiment)
    experiment.plan.inspect()
    assert training_notes(experiment.plan) == []


def test_a_recipe_for_a_model_in_float16_is_refused(plan: Callable[..., Plan]) -> None:
    message = (
        r"^models\.yaml: models\.tiny\.precision: adapters are not trained in float16, .*; use bfloat16 or float32$"
    )
    with pytest.raises(OutctlError, match=message):
        plan("float16")
