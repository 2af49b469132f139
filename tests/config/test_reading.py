from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.config.loading import load_experiment, load_registry
from outctl.config.reading import dotted, file_of, nearest, read_yaml
from outctl.errors import OutctlError

REGISTRY = {
    "models": {
        "tiny": {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 10},
        "hub-model": {"source": {"kind": "hub", "repo": "a/b", "revision": "0" * 40}, "chat": True, "parameters": 10},
    }
}
EXPERIMENT = {
    "models": ["tiny"],
    "registry": "models.yaml",
    "seed": 0,
    "cases": {
        "given": {"kind": "given_words", "train_samples": 10, "eval_samples": 3},
        "own": {"kind": "random_words", "eval_samples": 3},
    },
    "adapters": {"lora": {"cases": {"given": 5}, "steps": 2, "held_out_samples": 2}},
}
OWN = {"kind": "random_words", "eval_samples": 1}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("models.yaml", REGISTRY)


def write(name: str, content: Any) -> Path:
    path = Path(name)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def changed(data: dict[str, Any], key: tuple[Any, ...], value: Any) -> dict[str, Any]:
    data = deepcopy(data)
    place = data
    for element in key[:-1]:
        place = place[element]
    place[key[-1]] = value
    return data


def without(data: dict[str, Any], *key: str) -> dict[str, Any]:
    data = deepcopy(data)
    place = data
    for element in key[:-1]:
        place = place[element]
    del place[key[-1]]
    return data


def mistake(data: Any, files: list[Path]) -> str:
    with pytest.raises(OutctlError) as caught:
        load_experiment(data, files)
    text = str(caught.value)
    assert "\n" not in text
    return text


def mistake_in_file(data: Any) -> str:
    path = write("config.yaml", data)
    return mistake(read_yaml(path), [path])


def test_a_valid_experiment_is_read_with_its_registry():
    path = write("config.yaml", EXPERIMENT)
    experiment, registry = load_experiment(read_yaml(path), [path])
    assert experiment.models == ["tiny"]
    assert experiment.adapters["lora"].steps == 2
    assert list(registry.models) == ["tiny", "hub-model"]


UNKNOWN = [
    (("sead",), "unknown key; did you mean 'seed'?"),
    (("cases", "given", "evl_samples"), "unknown key; did you mean 'eval_samples'?"),
    (("cases", "given", "max_zipf"), "unknown key; known: eval_fraction, eval_samples, kind, num_words, percents,"),
    (("cases", "own", "given_words"), "unknown key; known: eval_samples, kind, max_zipf, percents,"),
    (("cases", "given", "given_words"), "unknown key; did you mean 'num_words'?"),
    (("adapters", "lora", "lerning_rate"), "unknown key; did you mean 'learning_rate'?"),
    # A key of earlier versions.
    (("adapters", "lora", "accumulation"), "unknown key; did you mean 'gradient_accumulation_steps'?"),
]


@pytest.mark.parametrize(("key", "text"), UNKNOWN, ids=lambda value: ".".join(value) if type(value) is tuple else "")
def test_unknown_key_is_named_with_the_nearest_valid_one(key, text):
    assert mistake_in_file(changed(EXPERIMENT, key, 1)).startswith(f"config.yaml: {'.'.join(key)}: {text}")


def test_unknown_key_of_a_nested_section_is_named():
    data = changed(EXPERIMENT, ("cases", "given", "percents"), {"mn": 5})
    assert mistake_in_file(data) == "config.yaml: cases.given.percents.mn: unknown key; did you mean 'min'?"


def test_misspelt_required_key_is_called_unknown_rather_than_missing():
    data = changed(without(EXPERIMENT, "cases", "own", "eval_samples"), ("cases", "own", "eval_sample"), 3)
    expected = "config.yaml: cases.own.eval_sample: unknown key; did you mean 'eval_samples'? (and 1 more)"
    assert mistake_in_file(data) == expected


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("models",), "this key is required"),
        (("cases", "own", "eval_samples"), "this key is required"),
        (("adapters", "lora", "steps"), "this key is required"),
    ],
)
def test_missing_key_is_named(key, text):
    assert mistake_in_file(without(EXPERIMENT, *key)) == f"config.yaml: {'.'.join(key)}: {text}"


def test_missing_kind_is_asked_for():
    assert mistake_in_file(without(EXPERIMENT, "cases", "own", "kind")) == (
        "config.yaml: cases.own: this section needs the key 'kind'"
    )


VALUES = [
    (("cases", "given", "kind"), "given_word", "did you mean 'given_words'?"),
    (("cases", "given", "kind"), "other", "known: given_words, icl_random_words, random_words"),
    (("cases", "given", "kind"), ["given_words"], "['given_words']"),
    (("cases", "given", "kind"), {"a": 1}, "known: given_words, icl_random_words, random_words"),
    (("cases", "given", "kind"), None, "known: given_words, icl_random_words, random_words"),
    (("cases", "given"), None, "dictionary"),
    (("cases", "given"), [], "dictionary"),
    (("cases",), ["given"], "dictionary"),
    (("cases",), {}, "at least 1 item"),
    (("models",), "tiny", "list, not 'tiny'"),
    (("models",), [], "at least 1 item"),
    (("models",), ["tiny", "tiny"], "'tiny' is listed twice"),
    (("seed",), -1, "greater than or equal to 0, not -1"),
    (("seed",), 10**30, "less than or equal to 4294967295"),
    (("seed",), True, "integer, not True"),
    (("seed",), 1.0, "integer, not 1.0"),
    (("seed",), [1], "integer"),
    (("seed",), "a\nb", "integer, not 'a\\nb'"),
    (("results_dir",), "", "at least 1 character, not ''"),
    (("adapters", "lora", "loss"), "kll", "'kll' is not allowed; did you mean 'kl'?"),
    (("adapters", "lora", "loss"), "entropy", "known: js, kl, reverse_kl, tvd"),
    (("adapters", "lora", "loss"), ["kl"], "['kl'] is not allowed"),
    (("adapters", "lora", "learning_rate"), "1e-3", "number, not '1e-3'"),
    (("adapters", "lora", "learning_rate"), 0.0, "greater than 0, not 0.0"),
    (("adapters", "lora", "layers"), "all", "list, not 'all'"),
    (("adapters", "lora", "target_modules"), "all_linear", "did you mean 'all-linear'?"),
    (("adapters", "lora", "target_modules"), 5, "5 is not allowed"),
    (("adapters", "lora", "cases"), ["given"], "dictionary"),
    (("cases", "given", "percents"), {"min": 7}, "a min that is a multiple of step"),
    (("cases", "given", "tolerance"), 1.5, "less than 1, not 1.5"),
]


@pytest.mark.parametrize(("key", "value", "text"), VALUES)
def test_wrong_value_is_named_with_its_key(key, value, text):
    message = mistake_in_file(changed(EXPERIMENT, key, value))
    assert message.startswith(f"config.yaml: {'.'.join(key)}: ")
    assert text in message


INSIDE_LISTS_AND_NAMES = [
    (("models",), [["tiny"]], "models.0", "string"),
    (("models",), ["tiny", None], "models.1", "string, not None"),
    (("adapters", "lora", "layers"), [0, "x"], "adapters.lora.layers.1", "integer, not 'x'"),
    (("cases", "a b"), OWN, "cases.a b", "'a b' cannot be a name"),
    (("cases", 1), OWN, "cases.1", "string, not 1"),
    (("adapters", "uniform"), EXPERIMENT["adapters"]["lora"], "adapters.uniform", "'uniform' is taken"),
    ((1,), 2, "1", "strings, not 1"),
]


@pytest.mark.parametrize(("key", "value", "named", "text"), INSIDE_LISTS_AND_NAMES)
def test_mistake_inside_a_list_or_a_name_is_named(key, value, named, text):
    message = mistake_in_file(changed(EXPERIMENT, key, value))
    assert message.startswith(f"config.yaml: {named}: ")
    assert text in message


def test_shares_that_cannot_add_up_are_a_mistake_of_their_case():
    data = changed(EXPERIMENT, ("cases", "given", "percents"), {"min": 60})
    message = mistake_in_file(data)
    assert message.startswith("config.yaml: cases.given: 2 words between 60 % and 95 %")
    assert message.endswith("cannot add up to 100 %")


def test_top_level_key_that_is_no_text_is_named():
    message = mistake_in_file(changed(EXPERIMENT, (None,), 2))
    assert message.startswith("config.yaml: ")
    assert message.endswith("Keys should be strings, not None")


def test_line_break_in_a_name_does_not_break_the_message():
    message = mistake_in_file(changed(EXPERIMENT, ("cases", "a\nb"), OWN))
    assert "'a\\nb' cannot be a name" in message


REFERENCES = [
    (("models",), ["tinny"], "models.0", "'tinny' is not in models.yaml; did you mean 'tiny'?"),
    (("models",), ["tiny", "other"], "models.1", "'other' is not in models.yaml; known: tiny, hub-model"),
    (
        ("adapters", "lora", "cases"),
        {"gven": 1},
        "adapters.lora.cases.gven",
        "there is no such case; did you mean 'given'?",
    ),
    (
        ("adapters", "lora", "cases"),
        {"given": 11},
        "adapters.lora.cases.given",
        "11 samples asked for, and cases.given.train_samples is 10",
    ),
    (
        ("adapters", "lora", "cases"),
        {"given": 0},
        "adapters.lora.cases.given",
        "0 samples asked for, and cases.given.train_samples is 10",
    ),
    (
        ("adapters", "lora", "cases"),
        {"own": 1},
        "adapters.lora.cases.own",
        "1 samples asked for, and cases.own.train_samples is 0",
    ),
]


@pytest.mark.parametrize(("key", "value", "named", "text"), REFERENCES)
def test_names_that_refer_to_nothing_are_refused(key, value, named, text):
    assert mistake_in_file(changed(EXPERIMENT, key, value)) == f"config.yaml: {named}: {text}"


def test_all_training_samples_may_be_taken():
    path = write("config.yaml", changed(EXPERIMENT, ("adapters", "lora", "cases"), {"given": 10}))
    experiment, _ = load_experiment(read_yaml(path), [path])
    assert experiment.adapters["lora"].cases == {"given": 10}


def test_an_even_control_has_no_limits_to_answer():
    limited = changed(EXPERIMENT, ("cases", "limited"), {"kind": "suppression", "train_samples": 10, "eval_samples": 3})
    trained = changed(limited, ("adapters", "lora", "cases"), {"limited": 10})
    path = write("config.yaml", changed(trained, ("adapters", "lora", "targets"), "shuffled"))
    assert load_experiment(read_yaml(path), [path])[0].adapters["lora"].targets == "shuffled"
    message = mistake_in_file(changed(trained, ("adapters", "lora", "targets"), "even"))
    assert message.startswith("config.yaml: adapters.lora.targets: cases.limited asks for limits")


@pytest.mark.parametrize("data", ["", "[]", "5", "text"])
def test_file_that_is_no_mapping_is_named(data):
    assert mistake_in_file(data).startswith("config.yaml: a configuration consists of keys and their values")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models: [a", "config.yaml: line 1, column 11: not valid YAML: "),
        ("a: 1\nb: [", "config.yaml: line 2, column 5: not valid YAML: "),
        ("{{ name }}: 1", "config.yaml: line 1, column 1: not valid YAML: found unhashable key"),
        ("a: !other b", "config.yaml: line 1, column 4: not valid YAML: "),
        ("a: \x01", "config.yaml:"),
        ("seed: 2026-99-99", "config.yaml:"),
    ],
)
def test_broken_yaml_gives_one_line_with_the_place(text, expected):
    path = write("config.yaml", text)
    with pytest.raises(OutctlError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_missing_unreadable_and_undecodable_files_are_named(tmp_path):
    Path("latin.yaml").write_bytes("a: é".encode("latin-1"))
    for name, text in (("none.yaml", "no such file"), (".", "cannot be read"), ("latin.yaml", "cannot be read")):
        with pytest.raises(OutctlError) as caught:
            read_yaml(Path(name))
        assert str(caught.value).startswith(f"{name}: {text}")
        assert "\n" not in str(caught.value)


def test_mistake_of_the_registry_names_the_registry():
    write("models.yaml", changed(REGISTRY, ("models", "tiny", "precison"), "nf4"))
    assert mistake_in_file(EXPERIMENT) == ("models.yaml: models.tiny.precison: unknown key; did you mean 'precision'?")


@pytest.mark.parametrize(
    ("key", "value", "named", "text"),
    [
        (("source", "revison"), "0", "source.revison", "unknown key; did you mean 'revision'?"),
        (("source", "hub"), "x", "source.hub", "unknown key; known: kind, repo, revision"),
        (
            ("source", "revision"),
            "main",
            "source.revision",
            "'main' is no commit, and a branch or tag can move to another model: give the 40 digits that `git ls-remote "
            "https://huggingface.co/a/b main` prints, or copy them from https://huggingface.co/a/b/commits",
        ),
        (("source", "kind"), "hup", "source.kind", "'hup' is not allowed; did you mean 'hub'?"),
        (("precision",), "nf8", "precision", "'nf8' is not allowed; did you mean 'nf4'?"),
    ],
)
def test_mistake_in_a_model_is_named(key, value, named, text):
    path = write("models.yaml", changed(REGISTRY, ("models", "hub-model", *key), value))
    with pytest.raises(OutctlError) as caught:
        load_registry(path)
    assert str(caught.value) == f"models.yaml: models.hub-model.{named}: {text}"


def test_missing_registry_is_named():
    assert mistake_in_file({**EXPERIMENT, "registry": "other.yaml"}) == (
        "config.yaml: registry: there is no file 'other.yaml'"
    )


def test_last_file_that_has_the_key_is_named():
    first = write("first.yaml", changed(EXPERIMENT, ("seed",), -1))
    second = write("second.yaml", {"seed": -2, "cases": {"own": {"eval_samples": 0}}})
    third = write("third.yaml", {"results_dir": "elsewhere"})
    files = [first, second, third]
    merged = changed(changed(EXPERIMENT, ("cases", "own", "eval_samples"), 0), ("results_dir",), "elsewhere")
    assert mistake(merged, files).startswith("second.yaml: cases.own.eval_samples: ")
    assert mistake({**EXPERIMENT, "seed": -2, "results_dir": "elsewhere"}, files).startswith("second.yaml: seed: ")
    assert mistake({**EXPERIMENT, "results_dir": ""}, [first, second, write("third.yaml", {"results_dir": ""})]) == (
        "third.yaml: results_dir: String should have at least 1 character, not ''"
    )


def test_earlier_file_is_named_for_a_key_that_later_ones_leave_alone():
    first = write("first.yaml", {**EXPERIMENT, "sead": 1})
    second = write("second.yaml", {"seed": 3})
    assert mistake({**EXPERIMENT, "sead": 1, "seed": 3}, [first, second]).startswith("first.yaml: sead: ")


def test_key_that_no_file_has_came_from_the_command_line():
    path = write("config.yaml", EXPERIMENT)
    assert mistake({**EXPERIMENT, "sead": 1}, [path]) == "--config: sead: unknown key; did you mean 'seed'?"


def test_value_that_no_file_has_came_from_the_command_line():
    path = write("config.yaml", EXPERIMENT)
    assert mistake({**EXPERIMENT, "seed": -1}, [path]).startswith("--config: seed: ")
    assert mistake({**EXPERIMENT, "models": ["tinny"]}, [path]).startswith("--config: models.0: 'tinny' is not in ")


def test_without_files_everything_came_from_the_command_line():
    assert mistake({**EXPERIMENT, "seed": -1}, []).startswith("--config: seed: ")
    assert mistake(None, []).startswith("--config: ")


def test_file_of_a_missing_key_is_the_file_of_its_section():
    first = write("first.yaml", {"cases": {"own": OWN}})
    second = write("second.yaml", {"seed": 1})
    data = {"cases": {"own": OWN}, "seed": 1}
    assert file_of(("cases", "own", "missing"), data, [first, second]) == "first.yaml"


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("given_word", ["given_words", "random_words"], "did you mean 'given_words'?"),
        ("zzz", ["given_words", "random_words"], "known: given_words, random_words"),
        (7, ["seven"], "known: seven"),
        ("a", [], "none is defined"),
    ],
)
def test_nearest_name(name, valid, hint):
    assert nearest(name, valid) == hint


def test_dotted_key():
    assert dotted(("models", 0, "name")) == "models.0.name"
