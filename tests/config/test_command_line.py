from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from outctl.config.command_line import typed
from outctl.config.loading import load_experiment
from outctl.errors import OutctlError

EXPERIMENT = {
    "models": ["gemma-3-270m"],
    "cases": {"given": {"kind": "given_words", "eval_samples": 4, "train_samples": 64}},
    "adapters": {"tuned": {"cases": {"given": 64}, "steps": 4}},
    "resources": {"threads": 8, "gpu": 0},
}


def from_command_line(argument: str) -> Any:
    """What a value is once it has passed Snakemake's parser and ours."""
    given = parse_config([f"key={{nested: {argument}}}"])
    return typed(given, given)["key"]["nested"]


SCALARS = "2 -1 0.5 1e-3 1.0e-3 true no null ~ 0x10 1_000 word 12:30:00 2024-01-01 << ="


@pytest.mark.parametrize("text", [*SCALARS.split(), "", "a b", "[1, x, [2]]", "{deep: {er: 3}}"])
def test_a_nested_value_is_what_it_would_be_in_a_file(text: str) -> None:
    try:
        expected = yaml.safe_load(f"key: {{nested: {text}}}")["key"]["nested"]
    except yaml.YAMLError:
        expected = text
    value = from_command_line(text)
    assert (value, type(value)) == (expected, type(expected))


QUOTED = {"\"'2'\"": "2", "'\"true\"'": "true", '"\'half"': "'half", "\"'[1]'\"": "[1]", "'\"a\": 1'": '"a": 1'}


@pytest.mark.parametrize(("argument", "value"), QUOTED.items())
def test_text_in_quotes_of_its_own_stays_text(argument: str, value: str) -> None:
    assert from_command_line(argument) == value


def test_a_whole_value_and_what_files_say_keep_their_types() -> None:
    given = parse_config(["results_dir=null", "seed=3", "resources={threads: 2}"])
    data = {"resources": {"threads": "2", "gpu": "1"}, "models": ["7"], "results_dir": "null", "seed": 3}
    expected = {"resources": {"threads": 2, "gpu": "1"}, "models": ["7"], "results_dir": "null", "seed": 3}
    assert typed(data, given) == expected
    # Set by a Snakefile, behind the command line.
    assert typed({"resources": {"threads": "4"}, "models": ["1", "2"]}, given | {"models": ["1"]}) == {
        "resources": {"threads": "4"},
        "models": ["1", "2"],
    }


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load an experiment that a file and the command line make up."""
    monkeypatch.chdir(tmp_path)

    def make(content: dict[str, Any], *arguments: str) -> Any:
        (tmp_path / "one.yaml").write_text(yaml.safe_dump(content))
        given = parse_config(arguments)
        data = yaml.safe_load(yaml.safe_dump(content))
        update_config(data, given)
        return load_experiment(data, [Path("one.yaml")], given)[0]

    return make


def test_nested_keys_are_overridden_and_those_beside_them_stay(load: Any) -> None:
    arguments = (
        "resources={threads: 2}",
        "adapters={tuned: {learning_rate: 1.0e-4, layers: [0, 1]}}",
        "retention={prompts: 4}",
    )
    experiment = load(EXPERIMENT, *arguments)
    assert (experiment.resources.threads, experiment.resources.gpu) == (2, 0)
    recipe = experiment.recipes["tuned"]
    assert (recipe.learning_rate, recipe.layers, recipe.steps) == (1e-4, [0, 1], 4)
    assert experiment.retention.prompts == 4
    assert load(EXPERIMENT, "sweeps={rank: {base: tuned, vary: {rank: [4, 8]}}}").sweeps["rank"].vary == {
        "rank": [4, 8]
    }


def test_a_mistake_is_said_to_be_on_the_command_line_and_text_in_a_file_is_no_number(load: Any) -> None:
    with pytest.raises(OutctlError, match=r"^--config: resources.threads: .*, not 'two'"):
        load(EXPERIMENT, "resources={threads: two}")
    with pytest.raises(OutctlError, match=r"^one.yaml: resources.threads: .*, not '2'"):
        load(EXPERIMENT | {"resources": {"threads": "2"}}, "resources={gpu: 0}")
