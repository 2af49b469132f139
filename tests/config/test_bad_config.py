"""Broken configurations and registries in bulk: one line that names file and key, or a plan that stays in its folders."""

import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from breakage import NASTY_TEXTS, REPEATABLE, Broken, broken, damaged, mistake_of
from outctl.config.loading import load_registry
from outctl.config.reading import dotted, read_yaml
from outctl.pipeline.plan import Plan
from outctl.stages.dag import load_plan

ROOT = Path(__file__).parents[2]
TEMPLATE = {"question": "Say {{ shares[0].word }}", "system": "Be brief", "examples": [{"user": "a", "assistant": "b"}]}
EXPERIMENT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | {
    "registry": "models.yaml",
    "results_dir": "results",
    "models_dir": "models",
    "seed": 0,
    "evaluation": {"tokens_per_pass": 512, "top_tokens": 20},
    "statistics": {"confidence": 0.9, "bootstrap_samples": 100},
    "resources": {"gpu": 0, "threads": 2},
}
# Those that it is compared with ask for the same shares.
for name in ("given_words", *EXPERIMENT["comparisons"]["cases"]):
    EXPERIMENT["cases"][name] |= {"percents": {"min": 10, "max": 90, "step": 10}}
EXPERIMENT["cases"]["given_words"] |= {"template": "template.yaml"}
EXPERIMENT["adapters"]["given-words"] |= {"layers": [0, 1], "target_modules": ["q_proj"], "loss": "kl", "alpha": 16.0}
MODELS = yaml.safe_load((ROOT / "config" / "models.yaml").read_text())["models"]
LOCAL = {"source": {"kind": "local", "path": "weights"}, "chat": False, "parameters": 10}
REGISTRY = {"models": {name: MODELS[name] for name in ("smollm2-135m-instruct", "qwen2-7b")} | {"local": LOCAL}}
FILES = {"config.yaml": EXPERIMENT, "models.yaml": REGISTRY, "template.yaml": TEMPLATE}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of all tests here, alone in its parent."""
    before = Path.cwd()
    directory = tmp_path_factory.mktemp("outside") / "inside"
    directory.mkdir()
    os.chdir(directory)
    yield directory
    os.chdir(before)


def put(**changes: Any) -> None:
    """Write the valid files; a change replaces one, data or bytes, by the part of its name before the dot."""
    for name, valid in FILES.items():
        content = changes.get(name.removesuffix(".yaml"), valid)
        text = content if isinstance(content, bytes) else yaml.safe_dump(content, sort_keys=False).encode()
        Path(name).write_bytes(text)


def plan() -> Plan:
    return load_plan(read_yaml(Path("config.yaml")), [Path("config.yaml")])


def test_the_files_to_be_broken_are_valid():
    put()
    assert mistake_of(plan) is None


@REPEATABLE
@given(broken(EXPERIMENT))
@example(Broken(EXPERIMENT | {"seed": 10**99}, ("seed",), True))
@example(Broken(EXPERIMENT | {"seed": float("nan")}, ("seed",), True))
@example(Broken(EXPERIMENT | {"registry": ""}, ("registry",), True))
@example(Broken(EXPERIMENT | {"registry": "."}, ("registry",), True))
@example(Broken(EXPERIMENT | {"results_dir": "a{model}"}, ("results_dir",), True))
def test_a_broken_experiment_is_refused_with_file_and_key_or_makes_a_plan(case: Broken):
    put(config=case.data)
    message = mistake_of(plan)
    if case.exact:
        assert message is not None
        assert message.startswith(f"config.yaml: {dotted(case.key)}: "), message
    assert message is None or message.startswith(("config.yaml: ", "models.yaml: ")), message


@REPEATABLE
@given(broken(REGISTRY))
def test_a_broken_registry_is_refused_with_file_and_key_or_makes_a_plan(case: Broken):
    put(models=case.data)
    message = mistake_of(plan)
    if case.exact:
        assert message is not None
        assert message.startswith(f"models.yaml: {dotted(case.key)}: "), message
    # An entry that is gone is missed by the experiment.
    assert message is None or message.startswith(("models.yaml: ", "config.yaml: models.0: ")), message


@REPEATABLE
@given(broken(TEMPLATE))
def test_a_broken_template_is_refused_with_files_and_keys_or_makes_a_plan(case: Broken):
    put(template=case.data)
    message = mistake_of(plan)
    prefix = "config.yaml: cases.given_words.template: "
    assert message is None or message.startswith(prefix), message
    if case.exact:
        assert message is not None
        assert message.startswith(f"{prefix}template.yaml: {dotted(case.key)}: "), message


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_with_its_name_or_makes_a_plan(name: str):
    @REPEATABLE
    @given(damaged(yaml.safe_dump(FILES[name], sort_keys=False).encode()))
    def check(content: bytes) -> None:
        put(**{name.removesuffix(".yaml"): content})
        message = mistake_of(plan)
        assert message is None or message.startswith(("config.yaml: ", "models.yaml: ")), message

    check()


def bomb(levels: int = 9, merged: bool = False) -> str:
    """A text of some lines that stands for ten to the power of its levels values, in lists or in merged mappings."""
    lines = ["a0: &a0 {key: 1}" if merged else "a0: &a0 [1]"]
    for level in range(1, levels + 1):
        same = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{same}]}}" if merged else f"[{same}]"))
    return "\n".join(lines)


VALID = yaml.safe_dump(EXPERIMENT, sort_keys=False)
MONSTERS = {
    "a bomb of aliases": (f"{VALID}\n{bomb()}", ": not valid YAML: a5 holds more than "),
    "a bomb under a key": (VALID.replace("- smollm2", f"- {bomb()!r}\n- smollm2"), ": models.0: "),
    "a bomb of merges": (f"{VALID}\n{bomb(merged=True)}", "holds more than "),
    "a chain of aliases": (
        "a0: &a0 [1]\n" + "\n".join(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 5000)),
        ": not valid YAML: a49 is nested more than 50 levels deep",
    ),
    "an alias to itself": ("models: &a [*a]", ": not valid YAML: the alias at models.0 refers to what it is part of"),
    "deep lists": ("models: " + "[" * 100_000, ": not valid YAML: nested more than 50 levels deep"),
    "deep blocks": ("- " * 100_000, ": not valid YAML: nested more than 50 levels deep"),
    "deep keys": ("? " * 100_000, ": not valid YAML: nested more than 50 levels deep"),
    "a long number": (VALID.replace("seed: 0", f"seed: {'1' * 10_000}"), "a number of 10000 characters"),
    "a long hexadecimal": (VALID.replace("seed: 0", f"seed: 0x{'f' * 50_000}"), "a number of 50002 characters"),
    "a huge number": (VALID.replace("seed: 0", f"seed: {10**98}"), ": seed: Input should be less than or equal to"),
    "a huge exponent": (VALID.replace("confidence: 0.9", "confidence: 1.0e+999"), ": statistics.confidence: "),
    "a huge file": ("#" * 1_000_001, ": larger than 1000000 bytes"),
    "a code": ("models: !!python/object/apply:os.system [touch pwned]", ": not valid YAML: could not determine"),
    "a key twice": (f"{VALID}\nseed: 1", ": not valid YAML: seed is given twice"),
    "a nested key twice": (
        VALID.replace("top_tokens: 20", "top_tokens: 20\n  'top_tokens': 30"),
        ": not valid YAML: evaluation.top_tokens is given twice",
    ),
    "a broken date": (VALID.replace("seed: 0", "seed: 2026-99-99"), ": not valid YAML: the text is no valid timestamp"),
    "a broken truth": (VALID.replace("seed: 0", "seed: !!bool x"), ": not valid YAML: the text is no valid bool"),
    "half a character": (VALID.replace("results_dir: results", 'results_dir: "\\ud800"'), "no valid str"),
    "no character": (VALID.replace("results_dir: results", 'results_dir: "\\Uffffffff"'), ": not valid YAML: "),
    "a tab": ("models:\n\t- a", ": not valid YAML: found character '\\t'"),
    "two documents": (f"{VALID}\n---\n{VALID}", ": not valid YAML: but found another document"),
    "nothing": ("", ": a configuration consists of keys"),
    "a comment": ("# nothing", ": a configuration consists of keys"),
    "UTF-16": (VALID.encode("utf-16"), ": cannot be read: 'utf-8' codec"),
    "a program": (bytes(range(256)) * 100, ": cannot be read: 'utf-8' codec"),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_monster_is_refused_with_file_and_reason(name: str, folder: Path):
    text, reason = MONSTERS[name]
    put(config=text if isinstance(text, bytes) else text.encode())
    message = mistake_of(plan)
    assert message is not None
    assert message.startswith("config.yaml: ")
    assert reason in message
    assert not (folder / "pwned").exists()


def test_a_byte_order_mark_is_no_mistake():
    put(config=b"\xef\xbb\xbf" + VALID.encode())
    assert mistake_of(plan) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [("/dev/zero", "larger than"), (".", "cannot be read"), ("absent", "no such file"), ("x" * 300, "cannot be read")],
)
def test_what_is_no_file_is_refused_with_its_name(name: str, reason: str):
    for read in (read_yaml, load_registry):
        assert (mistake_of(lambda read=read: read(Path(name))) or "").startswith(f"{name}: {reason}")


def test_a_file_that_another_reader_took_is_read_strictly_too():
    put(config=f"{VALID}\nseed: 1".encode())
    message = mistake_of(lambda: load_plan(yaml.safe_load(Path("config.yaml").read_text()), [Path("config.yaml")]))
    assert message is not None
    assert message.endswith("not valid YAML: seed is given twice")


def renamed(kind: str, name: str) -> dict[str, Any]:
    """The valid files with another name for a model, a case or an adapter, wherever it stands."""
    experiment, registry = deepcopy(EXPERIMENT), deepcopy(REGISTRY)
    if kind == "models":
        experiment["models"] = [name]
        registry["models"][name] = LOCAL
    elif kind == "cases":
        experiment["cases"][name] = experiment["cases"].pop("given_words")
        experiment["adapters"]["given-words"]["cases"] = {name: 3600}
    else:
        experiment["adapters"][name] = experiment["adapters"].pop("given-words")
    return {"config": experiment, "models": registry}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "cases", "adapters"])
def test_names_never_lead_out_of_the_folders(kind: str, folder: Path):
    @REPEATABLE
    @given(st.sampled_from(NASTY_TEXTS) | st.from_regex(r"\A[A-Za-z0-9._/-]{1,4}\Z"))
    def check(name: str) -> None:
        put(**renamed(kind, name))
        message = mistake_of(lambda: plan().write_specs())
        assert message is None or message.startswith(("config.yaml: ", "models.yaml: ")), message
        assert message is None or kind in message or "not valid YAML" in message, message
        assert [path.name for path in folder.parent.iterdir()] == ["inside"]
        assert {path.name for path in folder.iterdir()} <= {*FILES, "results", "models"}
        written = [path for part in ("results", "models") for path in Path(part).rglob("*") if path.is_file()]
        assert all(path.suffix == ".json" and "specs" in path.parts[1] for path in written)

    check()


def change(config: dict[str, Any] | None = None, models: dict[str, Any] | None = None) -> str | None:
    put(config=EXPERIMENT | (config or {}), models={"models": REGISTRY["models"] | (models or {})})
    return mistake_of(plan)


@pytest.mark.parametrize(
    ("change_of", "message"),
    [
        ({"models": {"Local": LOCAL}}, "models.yaml: models: 'local' and 'Local' would be one file"),
        ({"models": {"reference": LOCAL}}, "models.yaml: models.reference: 'reference' is taken: "),
        ({"models": {"a.provenance": LOCAL}}, "models.yaml: models.a.provenance: 'a.provenance' cannot be a name"),
        ({"models": {"a.": LOCAL}}, "models.yaml: models.a.: 'a.' cannot be a name"),
        (
            {"config": {"adapters": {"Baseline": EXPERIMENT["adapters"]["given-words"]}}},
            "config.yaml: adapters.Baseline: 'Baseline' is taken",
        ),
        (
            {"config": {"cases": EXPERIMENT["cases"] | {"Random_words": EXPERIMENT["cases"]["random_words"]}}},
            "config.yaml: cases: 'random_words' and 'Random_words' would be one file",
        ),
    ],
)
def test_names_that_would_share_a_place_are_refused(change_of: dict[str, Any], message: str):
    assert (change(**change_of) or "").startswith(message)


@pytest.mark.parametrize(
    ("results", "models", "fits"),
    [
        ("results", "resources/models", True),
        ("results", "results/models", True),
        ("results/one", "results/two", True),
        ("../results", "../models", True),
        ("/data/results", "/data/models", True),
        (".", "models", True),
        ("same", "same", False),
        ("same", "./other/../same", False),
        ("models/results", "models", False),
        ("results", ".", False),
        ("/data/results", "/", False),
        (".", "samples", False),
        ("results", "results/adapters", False),
        ("results", "results/specs/models", False),
        ("a/../results", "results/logs", False),
    ],
)
def test_folders_that_could_take_each_others_place_are_refused(results: str, models: str, fits: bool):
    message = change({"results_dir": results, "models_dir": models})
    assert (message is None) == fits
    if message is not None:
        assert message.startswith("config.yaml: models_dir: ")


@pytest.mark.parametrize("key", ["results_dir", "models_dir"])
@pytest.mark.parametrize(
    "path", ["{model}", "a}", "a\nb", "a\x00b", "a\x1b", " a", "a ", "x" * 201, "x/" * 501, "\x7f"]
)
def test_folders_that_the_workflow_would_misread_are_refused(key: str, path: str):
    assert (change({key: path}) or "").startswith(f"config.yaml: {key}: ")


@pytest.mark.parametrize("path", ["with blanks", "a'b", 'a"b', "$(x)", "a;b", "-x", "~x", "é🙂", "a*?[b]", "x" * 200])
def test_folders_of_any_other_name_are_the_users_choice(path: str):
    assert change({"results_dir": path, "models_dir": f"models/{path}"}) is None


def test_a_kind_in_a_section_that_has_none_is_an_unknown_key():
    adapter = EXPERIMENT["adapters"]["given-words"] | {"kind": "lora"}
    message = change({"adapters": {"given-words": adapter}})
    assert message is not None
    assert message.startswith("config.yaml: adapters.given-words.kind: unknown key; ")
