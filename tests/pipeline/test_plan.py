import os
from collections.abc import Iterator
from copy import deepcopy
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.config.names import BASELINE
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import installed_version
from outctl.pipeline.specs import read_spec
from outctl.stages.dag import STAGES, load_plan
from outctl.stages.finetune import FinetuneSettings, training_files
from outctl.stages.make_samples import SamplesSettings

GIVEN_TEMPLATE = {"question": "Say {% for share in shares %}{{ share.word }} ({{ share.percent }} %) {% endfor %}"}
FILES: dict[str, dict[str, Any]] = {
    "config.yaml": {
        "models": ["a", "b"],
        "registry": "models.yaml",
        "cases": {
            "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 4, "template": "given.yaml"},
            "own": {"kind": "random_words", "eval_samples": 4},
            "icl": {"kind": "icl_random_words", "train_samples": 8, "eval_samples": 4},
        },
        "adapters": {
            "one": {"cases": {"given": 4}, "steps": 2, "held_out_samples": 2},
            "two": {"cases": {"icl": 4, "given": 4}, "steps": 2, "held_out_samples": 2},
        },
    },
    "models.yaml": {
        "models": {
            name: {"source": {"kind": "local", "path": f"weights/{name}"}, "chat": True, "parameters": 10}
            for name in ("a", "b", "c")
        }
    },
    "given.yaml": GIVEN_TEMPLATE,
    "same.yaml": GIVEN_TEMPLATE,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan_of(files: dict[str, dict[str, Any]]) -> Plan:
    for name, content in files.items():
        Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    return load_plan(deepcopy(files["config.yaml"]), [Path("config.yaml")])


def changed(file: str, key: str, value: Any) -> dict[str, dict[str, Any]]:
    files = deepcopy(FILES)
    *path, last = key.split(".")
    place = files[file]
    for element in path:
        place = place.setdefault(element, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return files


def hashes(plan: Plan) -> dict[str, str]:
    return {"/".join(job): plan.spec(*job).hash for job in plan.jobs()}


def matching(jobs: set[str], *patterns: str) -> set[str]:
    for pattern in patterns:
        assert any(fnmatch(job, pattern) for job in jobs), f"no job is called {pattern}"
    return {job for job in jobs if any(fnmatch(job, pattern) for pattern in patterns)}


def test_jobs_are_every_combination_once():
    plan = plan_of(FILES)
    jobs = ["/".join(job) for job in plan.jobs()]
    expected = {"fetch-model/a", "fetch-model/b", "aggregate", "figures", "report"}
    expected |= {f"make-samples/{name}" for name in ("given/train", "given/eval", "own/eval", "icl/train", "icl/eval")}
    for model in ("a", "b"):
        expected |= {f"finetune/{model}/one", f"finetune/{model}/two", f"aggregate-model/{model}"}
        for variant in (BASELINE, "one", "two"):
            expected |= {f"evaluate/{model}/{variant}/{case}" for case in ("given", "own", "icl")}
    assert set(jobs) == expected
    assert len(jobs) == len(expected)


RESULTS = ("aggregate-model/*", "aggregate", "figures", "report")
TRAINED_ON_GIVEN = ("finetune/*/*", "evaluate/*/one/*", "evaluate/*/two/*")
OF_MODEL_A = ("finetune/a/*", "evaluate/a/*", "aggregate-model/a", "aggregate", "figures", "report")
CHANGES = [
    ("cases.given.eval_samples", 5, ("make-samples/given/eval", "evaluate/*/*/given", *RESULTS)),
    ("cases.given.train_samples", 9, ("make-samples/given/train", *TRAINED_ON_GIVEN, *RESULTS)),
    ("cases.icl.train_samples", 9, ("make-samples/icl/train", "finetune/*/two", "evaluate/*/two/*", *RESULTS)),
    ("cases.own.train_samples", 9, ()),
    ("cases.own.tolerance", 0.2, ("make-samples/own/eval", "evaluate/*/*/own", *RESULTS)),
    ("cases.given.tolerance", 0.2, ("make-samples/given/eval", "evaluate/*/*/given", *RESULTS)),
    ("cases.own.percents.max", 90, ("make-samples/own/eval", "evaluate/*/*/own", *RESULTS)),
    ("cases.own.template", "icl_random_words", ("make-samples/own/eval", "evaluate/*/*/own", *RESULTS)),
    ("cases.own.template", "random_words", ()),
    (
        "cases.icl.num_examples",
        2,
        ("make-samples/icl/*", "finetune/*/two", "evaluate/*/two/*", "evaluate/*/*/icl", *RESULTS),
    ),
    ("cases.given.template", "same.yaml", ()),
    ("adapters.one.rank", 4, ("finetune/*/one", "evaluate/*/one/*", *RESULTS)),
    ("adapters.two.seed", 1, ("finetune/*/two", "evaluate/*/two/*", *RESULTS)),
    ("adapters.one.cases.given", 5, ("finetune/*/one", "evaluate/*/one/*", *RESULTS)),
    ("adapters.two.cases", {"given": 4, "icl": 4}, ()),
    ("adapters.one.rank", 16, ()),
    ("evaluation.tokens_per_pass", 64, ("evaluate/*", *RESULTS)),
    ("evaluation.top_tokens", 24, ("evaluate/*", *RESULTS)),
    ("statistics.confidence", 0.9, RESULTS),
    ("statistics.bootstrap_samples", 500, RESULTS),
    ("seed", 1, ("make-samples/*", "finetune/*", "evaluate/*", *RESULTS)),
    ("models", ["b", "a"], ("aggregate", "figures", "report")),
    ("resources", {"gpu": 0, "threads": 2}, ()),
    ("results_dir", "elsewhere", ()),
    ("models_dir", "elsewhere", ()),
]
OTHER_FILES = [
    ("models.yaml", "models.a.precision", "nf4", OF_MODEL_A),
    ("models.yaml", "models.a.chat", False, OF_MODEL_A),
    ("models.yaml", "models.a.source.path", "elsewhere", ("fetch-model/a", *OF_MODEL_A)),
    ("models.yaml", "models.a.parameters", 20, ()),
    ("models.yaml", "models.c.precision", "nf4", ()),
    (
        "given.yaml",
        "question",
        "Choose {{ shares[0].word }}",
        ("make-samples/given/*", *TRAINED_ON_GIVEN, "evaluate/*/baseline/given", *RESULTS),
    ),
    (
        "given.yaml",
        "system",
        "Be brief.",
        ("make-samples/given/*", *TRAINED_ON_GIVEN, "evaluate/*/baseline/given", *RESULTS),
    ),
]


@pytest.mark.parametrize(
    ("file", "key", "value", "patterns"), [("config.yaml", *change) for change in CHANGES] + OTHER_FILES
)
def test_change_of_a_key_changes_just_the_jobs_that_depend_on_it(file, key, value, patterns):
    before = hashes(plan_of(FILES))
    after = hashes(plan_of(changed(file, key, value)))
    assert set(after) == set(before)
    assert {job for job in before if before[job] != after[job]} == matching(set(before), *patterns)


ADDITIONS = [
    ("models", ["a", "b", "c"], ("*/c", "*/c/*"), ("aggregate", "figures", "report")),
    (
        "adapters.three",
        {"cases": {"given": 4}, "steps": 3, "held_out_samples": 2},
        ("finetune/*/three", "evaluate/*/three/*"),
        RESULTS,
    ),
    (
        "adapters.three",
        {"cases": {"own": 4}, "steps": 3, "held_out_samples": 2},
        ("finetune/*/three", "evaluate/*/three/*", "make-samples/own/train"),
        RESULTS,
    ),
    (
        "cases.more",
        {"kind": "given_words", "eval_samples": 4},
        ("make-samples/more/eval", "evaluate/*/*/more"),
        RESULTS,
    ),
]


@pytest.mark.parametrize(("key", "value", "new", "patterns"), ADDITIONS)
def test_addition_makes_its_own_jobs_and_leaves_the_others_but_for_the_tables(key, value, new, patterns):
    base = changed("config.yaml", "cases.own.train_samples", 4)
    before = hashes(plan_of(base))
    files = changed("config.yaml", key, value)
    files["config.yaml"]["cases"]["own"]["train_samples"] = 4
    after = hashes(plan_of(files))
    assert set(after) - set(before) == matching(set(after), *new)
    assert set(before) <= set(after)
    assert {job for job in before if before[job] != after[job]} == matching(set(before), *patterns)


@pytest.mark.parametrize("job", [("make-samples", "own", "eval"), ("finetune", "a", "one"), ("figures",)])
def test_code_package_versions_and_upstream_jobs_count(job):
    spec = plan_of(FILES).spec(*job)
    assert spec.code == STAGES[job[0]].code(spec.entries)
    assert spec.packages == {name: installed_version(name).partition("+")[0] for name in spec.packages}
    for field, value in (("code", "0" * 64), ("packages", {"torch": "0"}), ("upstream", {"a": "0"}), ("stage", "none")):
        assert spec.model_copy(update={field: value}).hash != spec.hash


@pytest.mark.parametrize(
    ("job", "precision", "unused"),
    [
        (("fetch-model", "a"), "auto", {"gguf", "safetensors", "torch"}),
        (("finetune", "a", "one"), "auto", {"bitsandbytes"}),
        (("finetune", "a", "one"), "nf4", set()),
        (("evaluate", "a", "one", "own"), "float32", {"bitsandbytes"}),
        (("evaluate", "a", BASELINE, "own"), "nf4", {"peft"}),
        (("make-samples", "own", "eval"), "auto", set()),
        (("figures",), "auto", set()),
    ],
)
def test_packages_that_a_job_does_without_do_not_count(job, precision, unused):
    plan = plan_of(changed("models.yaml", "models.a.precision", precision))
    assert set(plan.spec(*job).packages) == set(STAGES[job[0]].packages) - unused


def test_upstream_jobs_are_those_whose_outputs_are_read():
    plan = plan_of(FILES)
    upstream = {job: set(plan.spec(*job.split("/")).upstream) for job in hashes(plan)}
    assert upstream["fetch-model/a"] == upstream["make-samples/given/train"] == set()
    assert upstream["finetune/a/two"] == {"fetch-model/a", "make-samples/given/train", "make-samples/icl/train"}
    assert upstream["evaluate/a/baseline/own"] == {"fetch-model/a", "make-samples/own/eval"}
    assert upstream["evaluate/a/one/own"] == {"fetch-model/a", "make-samples/own/eval", "finetune/a/one"}
    assert upstream["aggregate"] == upstream["figures"] == {"aggregate-model/a", "aggregate-model/b"}
    records = {
        f"evaluate/a/{variant}/{case}" for variant in (BASELINE, "one", "two") for case in ("given", "own", "icl")
    }
    samples = {f"make-samples/{case}/eval" for case in ("given", "own", "icl")}
    trainings = {"finetune/a/one", "finetune/a/two"}
    assert upstream["aggregate-model/a"] == records | samples | trainings


def test_upstream_hashes_are_those_of_the_jobs():
    plan = plan_of(FILES)
    known = hashes(plan)
    for job in plan.jobs():
        assert plan.spec(*job).upstream.items() <= known.items()


@pytest.mark.parametrize("stage", STAGES)
def test_packages_of_every_stage_are_installed(stage):
    assert {name: installed_version(name) for name in STAGES[stage].packages if installed_version(name) is None} == {}


def spec_files() -> Iterator[Path]:
    return Path().rglob("*@*.json")


def test_every_job_has_a_file_of_its_own_and_reads_it_back():
    plan = plan_of(FILES)
    plan.write_specs()
    paths = {job: plan.spec_path(*job) for job in plan.jobs()}
    assert len(set(paths.values())) == len(paths)
    assert set(paths.values()) == set(spec_files())
    for job, path in paths.items():
        assert read_spec(path, job[0]) == plan.spec(*job)
        assert read_spec(path, job[0]).hash == plan.spec(*job).hash


def test_specs_of_models_lie_with_the_models_that_experiments_share():
    files = changed("config.yaml", "models_dir", "shared")
    files["config.yaml"]["results_dir"] = "mine"
    plan = plan_of(files)
    plan.write_specs()
    assert {path.parts[0] for path in spec_files() if "fetch-model" in path.parts} == {"shared"}
    assert {path.parts[0] for path in spec_files() if "fetch-model" not in path.parts} == {"mine"}


def test_spec_files_are_written_only_where_they_differ():
    plan_of(FILES).write_specs()
    long_ago = 1_000_000_000
    for path in spec_files():
        os.utime(path, (long_ago, long_ago))
    plan_of(FILES).write_specs()
    assert {path.stat().st_mtime for path in spec_files()} == {long_ago}

    plan = plan_of(changed("config.yaml", "adapters.one.rank", 4))
    plan.write_specs()
    written = {path for path in spec_files() if path.stat().st_mtime != long_ago}
    jobs = {"/".join(job): plan.spec_path(*job) for job in plan.jobs()}
    expected = matching(set(jobs), "finetune/*/one", "evaluate/*/one/*", *RESULTS)
    assert written == {jobs[name] for name in expected}


def test_damaged_spec_file_is_written_again():
    plan = plan_of(FILES)
    plan.write_specs()
    path = plan.spec_path("finetune", "a", "one")
    path.write_text(path.read_text()[:-10])
    plan.write_specs()
    assert read_spec(path, "finetune") == plan.spec("finetune", "a", "one")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[]", "not a job's specification"),
        ('{"stage": "finetune"}', "not a job's specification"),
    ],
)
def test_broken_spec_file_is_named(content, text):
    path = Path("spec.json")
    if content is not None:
        path.write_text(content)
    with pytest.raises(OutctlError) as caught:
        read_spec(path, "finetune")
    assert str(caught.value).startswith(f"spec.json: {text}")
    assert "\n" not in str(caught.value)


def test_spec_of_another_stage_is_refused():
    plan = plan_of(FILES)
    plan.write_specs()
    with pytest.raises(OutctlError, match=r"the specification of figures, not of aggregate$"):
        read_spec(plan.spec_path("figures"), "aggregate")


def test_samples_of_a_split_do_not_know_the_count_of_the_other():
    plan = plan_of(FILES)
    train = plan.spec("make-samples", "given", "train").settings_as(SamplesSettings)
    evaluation = plan.spec("make-samples", "given", "eval").settings_as(SamplesSettings)
    assert (train.count, evaluation.count) == (8, 4)
    assert train.case == evaluation.case
    assert train.template["question"] == GIVEN_TEMPLATE["question"]


def test_training_reads_its_samples_in_the_order_of_the_cases_names():
    plan = plan_of(FILES)
    assert [path.parts[-2:] for path in training_files(plan.layout, plan.recipes["two"].cases)] == [
        ("given", "train.jsonl"),
        ("icl", "train.jsonl"),
    ]
    settings = plan.spec("finetune", "a", "two").settings_as(FinetuneSettings)
    assert settings.recipe.cases == {"given": 4, "icl": 4}


TEMPLATES = [
    ("own", "given_word", "there is no prompt template 'given_word'; did you mean 'given_words'?"),
    ("own", "absent.yaml", "absent.yaml: no such file"),
    ("own", "given_words", "'shares' is undefined"),
    ("given", "random_words", "'seed' is undefined"),
    ("icl", "random_words", "the template has no `answer`"),
]


@pytest.mark.parametrize(("case", "template", "text"), TEMPLATES)
def test_template_that_does_not_fit_names_file_and_key(case, template, text):
    with pytest.raises(OutctlError) as caught:
        plan_of(changed("config.yaml", f"cases.{case}.template", template))
    message = str(caught.value)
    assert message.startswith(f"config.yaml: cases.{case}.template: ")
    assert text in message
    assert "\n" not in message


def test_unknown_stage_is_an_error():
    with pytest.raises(ValueError, match="no stage 'finetune'"):
        plan_of(FILES).spec("finetune", "a")
