"""Sweeps: which adapters they make, and what is wrong with those that cannot be expanded."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.config.experiment import Experiment
from outctl.config.sweeps import all_recipes, bases, labels, repeats
from outctl.errors import OutctlError
from outctl.stages.dag import load_plan

BASE = {"cases": {"given": 40}, "steps": 5, "held_out_samples": 4}


def experiment(sweeps: dict[str, Any], **changes: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "models": ["tiny"],
            "cases": {"given": {"kind": "given_words", "train_samples": 80, "eval_samples": 2}},
            "adapters": {"base": BASE},
            "sweeps": sweeps,
        }
        | changes
    )


def test_every_combination_is_an_adapter_and_nothing_else_changes() -> None:
    sweep = {"base": "base", "vary": {"rank": [4, 8], "layers": {"low": [0], "all": None}}}
    recipes = all_recipes(experiment({"size": sweep}))
    assert list(recipes) == ["base", "size-4-low", "size-4-all", "size-8-low", "size-8-all"]
    assert (recipes["size-4-low"].rank, recipes["size-4-low"].layers) == (4, [0])
    base = recipes["base"].model_dump()
    assert recipes["size-8-all"].model_dump() == base | {"rank": 8}
    assert labels(experiment({"size": sweep}))["size"]["size-8-low"] == {"rank": "8", "layers": "low"}


def test_the_recipe_that_is_varied_says_what_it_has_of_every_key() -> None:
    vary = {"rank": [4, 16], "layers": {"low": [0]}, "samples": [20], "target_modules": {"few": ["q_proj"]}}
    found = bases(experiment({"size": {"base": "base", "vary": vary}}))
    assert found == {"size": {"base": {"rank": "16", "layers": "all", "samples": "40", "target_modules": "all-linear"}}}
    modules = experiment(
        {"few": {"base": "base", "vary": {"target_modules": {"named": ["q_proj"], "other": ["up_proj"]}}}},
        adapters={"base": {**BASE, "target_modules": ["q_proj"]}},
    )
    assert bases(modules) == {"few": {"base": {"target_modules": "named"}}}


def test_samples_are_those_of_the_recipes_case() -> None:
    recipes = all_recipes(experiment({"data": {"base": "base", "vary": {"samples": [20, 80]}}}))
    assert [recipes[name].cases for name in ("data-20", "data-80")] == [{"given": 20}, {"given": 80}]


def test_repeats_are_recipes_that_differ_in_their_seed_alone() -> None:
    sweeps = {"seeds": {"base": "base", "vary": {"seed": [1, 2]}}, "ranks": {"base": "base", "vary": {"rank": [4]}}}
    assert repeats(all_recipes(experiment(sweeps))) == {"base": ["base", "seeds-1", "seeds-2"]}


@pytest.mark.parametrize(
    ("sweep", "text"),
    [
        ({"base": "bass", "vary": {"rank": [4]}}, "sweeps.size.base: there is no adapter 'bass'; did you mean 'base'?"),
        ({"base": "base", "vary": {"rnk": [4]}}, "sweeps.size.vary.rnk: unknown key; did you mean 'rank'?"),
        (
            {"base": "base", "vary": {"accumulation": [2]}},
            "sweeps.size.vary.accumulation: unknown key; did you mean 'gradient_accumulation_steps'?",
        ),
        ({"base": "base", "vary": {"rank": [0]}}, "sweeps.size.vary.rank: Input should be greater than or equal to 1"),
        ({"base": "base", "vary": {"layers": [[0], [1]]}}, "sweeps.size.vary.layers.0: this value needs a name"),
        ({"base": "base", "vary": {"samples": [81]}}, "size-81: cases.given: 81 samples asked for"),
        ({"base": "base", "vary": {"samples": [4]}}, "size-4: held_out_samples: 4 kept back of 4 samples"),
    ],
)
def test_a_sweep_that_cannot_be_expanded_gives_one_line_with_file_and_key(
    tmp_path: Path, sweep: dict[str, Any], text: str
) -> None:
    registry = {"models": {"tiny": {"source": {"kind": "local", "path": "."}, "chat": True, "parameters": 1}}}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(registry))
    data = experiment({"size": sweep}).model_dump(exclude_unset=True) | {"registry": str(tmp_path / "models.yaml")}
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(OutctlError) as caught:
        load_plan(yaml.safe_load(file.read_text()), [file])
    assert str(caught.value).startswith(f"{file}: sweeps.size")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_taken_is_refused() -> None:
    sweeps = {"base": {"base": "base", "vary": {"rank": [4]}}}
    with pytest.raises(OutctlError, match="makes the adapter 'base-4', which there is already"):
        all_recipes(experiment(sweeps, adapters={"base": BASE, "Base-4": BASE}))
