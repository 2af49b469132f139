from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from outctl.config.loading import BUILT_IN, load_experiment, load_registry, registry_of
from outctl.errors import OutctlError

MODEL = {"source": {"kind": "local", "path": "weights"}, "chat": True}
CASE = {"kind": "given_words", "eval_samples": 1}
PLUGIN = "from outctl.config.registries import METRICS\n\n\n@METRICS.register('own')\ndef own(log_p, target): ...\n"
EXPERIMENT: dict[str, Any] = {
    "models": ["small"],
    "registry": "../models.yaml",
    "plugins": ["own.py"],
    "cases": {
        "listed": CASE | {"vocabulary": "words.txt", "template": "asking.yaml"},
        "named": CASE | {"vocabulary": "letters", "template": "given_words_urn", "eval_fraction": 0.5},
    },
    "adapters": {"old": {"source": {"kind": "local", "path": "../old"}}},
    "retention": {"files": ["/texts/prose.txt", "prose.txt"]},
    "base_model_deviation": {"files": ["prose.txt"]},
    "results_dir": "out",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Path]:
    """Write a file below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, content: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return file

    make("models.yaml", {"models": {"small": MODEL}})
    make("lab/own.py", PLUGIN)
    return make


def merged(files: list[Path], *arguments: str) -> tuple[dict[str, Any], list[Path], dict[str, Any]]:
    """A configuration as the workflow gets it."""
    data: dict[str, Any] = {}
    given = parse_config(arguments)
    for file in files:
        update_config(data, yaml.safe_load(file.read_text()))
    update_config(data, given)
    return data, files, given


def test_a_path_is_relative_to_the_file_that_names_it(write: Callable[[str, Any], Path]) -> None:
    experiment, registry = load_experiment(*merged([write("lab/one.yaml", EXPERIMENT)]))
    assert experiment.registry == "models.yaml"
    assert experiment.plugins == ["lab/own.py"]
    assert experiment.cases["listed"].template == "lab/asking.yaml"
    assert experiment.cases["listed"].draws_from == "lab/words.txt"
    assert experiment.existing["old"].source.path == "old"
    assert experiment.retention.files == ["/texts/prose.txt", "lab/prose.txt"]
    assert experiment.base_model_deviation.files == ["lab/prose.txt"]
    assert registry.models["small"].source.path == "weights"
    # No paths of files to read.
    assert (experiment.cases["named"].template, experiment.cases["named"].draws_from) == ("given_words_urn", "letters")
    assert experiment.results_dir == "out"


def test_of_several_files_each_has_paths_of_its_own(write: Callable[[str, Any], Path]) -> None:
    one = write("lab/one.yaml", EXPERIMENT)
    two = write(
        "more/two.yaml", {"cases": {"listed": {"template": "asking.yaml"}}, "retention": {"files": ["own.txt"]}}
    )
    experiment, _ = load_experiment(*merged([one, two]))
    assert experiment.cases["listed"].template == "more/asking.yaml"
    assert experiment.cases["listed"].draws_from == "lab/words.txt"
    assert experiment.retention.files == ["more/own.txt"]
    assert experiment.plugins == ["lab/own.py"]


def test_paths_of_the_command_line_are_relative_to_the_working_directory(write: Callable[[str, Any], Path]) -> None:
    one = write("lab/one.yaml", EXPERIMENT)
    write("own.py", PLUGIN)
    # As the file says, but meant from here.
    arguments = ("plugins=[own.py]", "cases={listed: {vocabulary: words.txt}}", "retention={files: [prose.txt]}")
    experiment, _ = load_experiment(*merged([one], *arguments))
    assert experiment.plugins == ["own.py"]
    assert experiment.cases["listed"].draws_from == "words.txt"
    assert experiment.cases["listed"].template == "lab/asking.yaml"
    assert experiment.retention.files == ["prose.txt"]


def test_it_does_not_matter_how_the_file_is_named(write: Callable[[str, Any], Path]) -> None:
    file = write("lab/one.yaml", EXPERIMENT)
    ways = [file, Path("lab/one.yaml"), Path("more/../lab/one.yaml")]
    write("more/other", "")
    first, *others = [load_experiment(*merged([way]))[0] for way in ways]
    assert others == [first, first]


def test_a_path_from_the_working_directory_is_refused_with_what_to_write(write: Callable[[str, Any], Path]) -> None:
    file = write("lab/one.yaml", EXPERIMENT | {"registry": "models.yaml"})
    with pytest.raises(OutctlError) as error:
        load_experiment(*merged([file]))
    assert str(error.value) == (
        f"{file}: registry: there is no 'lab/models.yaml', and paths are relative to the file that names them; write "
        "'../models.yaml'"
    )


def test_a_model_on_this_machine_is_found_from_the_registry(write: Callable[[str, Any], Path]) -> None:
    file = write(
        "shared/models.yaml", {"models": {"small": MODEL, "far": MODEL | {"source": MODEL["source"] | {"path": "/w"}}}}
    )
    registry = load_registry(file)
    assert {name: entry.source.path for name, entry in registry.models.items()} == {
        "small": "shared/weights",
        "far": "/w",
    }


def test_a_registry_extends_the_built_in_one_and_its_own_models_come_first(write: Callable[[str, Any], Path]) -> None:
    built_in = load_registry(BUILT_IN).models
    assert "gemma-3-270m" in built_in
    own = load_registry(
        write("own.yaml", {"extends": "built-in", "models": {"gemma-3-270m": MODEL, "small": MODEL}})
    ).models
    assert list(own) == ["gemma-3-270m", "small", *(name for name in built_in if name != "gemma-3-270m")]
    assert own["gemma-3-270m"].source.kind == "local"
    assert load_registry(write("own.yaml", {"extends": "built-in"})).models == built_in
    with pytest.raises(
        OutctlError, match="models: there is none; add one, or extend the registry that comes with outctl"
    ):
        load_registry(write("own.yaml", {"models": {}}))


def test_without_a_registry_it_is_the_usual_file_or_the_built_in_one(write: Callable[[str, Any], Path]) -> None:
    built_in = {key: value for key, value in EXPERIMENT.items() if key not in ("registry", "adapters")}
    file = write("lab/one.yaml", built_in | {"models": ["gemma-3-270m"]})
    experiment, registry = load_experiment(*merged([file]))
    assert registry_of(experiment) == BUILT_IN
    assert "smollm2-135m-instruct" in registry.models
    write("config/models.yaml", {"models": {"gemma-3-270m": MODEL}})
    experiment, registry = load_experiment(*merged([file]))
    assert list(registry.models) == ["gemma-3-270m"]
    assert registry.models["gemma-3-270m"].source.path == "config/weights"
