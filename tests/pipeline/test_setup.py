"""Which jobs a key of the further evaluations makes anew: exactly those whose specifications' hashes change."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.stages.aggregate import table_files
from outctl.stages.dag import load_plan, thaw_plan
from outctl.stages.figures import figure_names

CONFIG: dict[str, Any] = {
    "models": ["a"],
    "registry": "models.yaml",
    "cases": {
        "given": {"kind": "given_words", "train_samples": 64, "eval_samples": 2},
        "listed": {"kind": "given_words", "vocabulary": "own.txt", "eval_samples": 2},
    },
    "adapters": {"one": {"cases": {"given": 40}, "steps": 5}},
    "base_model_deviation": {"samples": 4, "files": ["text.txt"]},
    "retention": {"prompts": 4, "files": ["text.txt"]},
    "agreement": {"cases": ["given"]},
    "temperature_scaling": {"case": "given"},
}
TABLES = {"aggregate-model/a", "aggregate", "figures", "report"}
AGREEMENT = {"evaluate-agreement/a/baseline/given", "evaluate-agreement/a/one/given"}
DEVIATION = {"evaluate-deviation/a/baseline", "evaluate-deviation/a/one"}
RETENTION = {"evaluate-retention/a/one"}
SCALED = {"fit-temperature/a", "evaluate/a/temperature/given", "evaluate/a/temperature/listed"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entry = {"source": {"kind": "hub", "repo": "lab/a", "revision": "0" * 40}, "chat": True, "parameters": 1000}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": {"a": entry, "b": entry}}))
    (tmp_path / "text.txt").write_text("one two three four five six. " * 100)
    (tmp_path / "own.txt").write_text("".join(f"word{number}\n" for number in range(60)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_with(**changes: Any) -> Plan:
    config = deepcopy(CONFIG)
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = config
        for section in sections:
            place = place[section]
        place[last] = value
    file = Path("experiment.yaml")
    file.write_text(yaml.safe_dump(config))
    return load_plan(yaml.safe_load(file.read_text()), [file])


def hashes(plan: Plan) -> dict[str, str]:
    return {"/".join(job): plan.spec(*job).hash for job in plan.jobs()}


@pytest.mark.parametrize(
    ("key", "value", "jobs"),
    [
        ("base_model_deviation__samples", 6, {"make-deviation-samples"} | DEVIATION | TABLES),
        ("base_model_deviation__max_new_tokens", 50, DEVIATION | TABLES),
        ("retention__prompts", 5, RETENTION | TABLES),
        ("retention__answer_tokens", 3, RETENTION | TABLES),
        ("agreement__samples", 3, AGREEMENT | TABLES),
        ("agreement__draws", 30, AGREEMENT | TABLES),
        ("temperature_scaling__samples", 8, SCALED | TABLES),
        ("statistics", {"permutations": 999}, RETENTION | TABLES),
        ("cases__listed__vocabulary_size", 500, set()),
    ],
)
def test_a_key_changes_the_jobs_that_depend_on_it_and_no_others(
    folder: Path, key: str, value: Any, jobs: set[str]
) -> None:
    before, after = hashes(plan_with()), hashes(plan_with(**{key: value}))
    assert {job for job in before if after[job] != before[job]} == jobs


def test_a_text_or_a_list_of_words_that_is_edited_makes_anew_what_reads_it(folder: Path) -> None:
    before = hashes(plan_with())
    text = folder / "text.txt"
    text.write_text(text.read_text().replace("six", "seven"))
    after = hashes(plan_with())
    assert {job for job in before if after[job] != before[job]} == {
        "make-deviation-samples",
        *DEVIATION,
        *RETENTION,
        *TABLES,
    }
    (folder / "own.txt").write_text("".join(f"word{number}\n" for number in range(70)))
    later = hashes(plan_with())
    samples = {
        "make-samples/listed/eval",
        *(f"evaluate/a/{name}/listed" for name in ("baseline", "one", "temperature")),
    }
    assert {job for job in after if later[job] != after[job]} == samples | TABLES


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("agreement__cases", ["givn"], "agreement.cases.0: there is no case 'givn'; did you mean 'given'?"),
        ("agreement__cases", ["limits"], "agreement.cases.0: 'limits' asks for one of many answers"),
        ("temperature_scaling__case", "own", "temperature_scaling.case: 'own' leaves the words to the model"),
        ("temperature_scaling__samples", 65, "65 samples asked for, and cases.given.train_samples is 64"),
        ("temperature_scaling__samples", 500, "temperature_scaling.samples: Input should be less than or equal to 128"),
        ("base_model_deviation__reference", "bb", "base_model_deviation.reference: 'bb' is not in models.yaml"),
        ("base_model_deviation__files", ["no.txt"], "no.txt"),
        ("retention__files", ["no.txt"], "no.txt"),
        ("cases__listed__vocabulary", "no.txt", "cases.listed.vocabulary: no.txt: cannot be read"),
        ("cases__listed__eval_fraction", 0.2, "cases.listed.eval_fraction: 0.2 differs from cases.given: 0.1"),
        (
            "comparisons",
            {"adapters": {"one": ["oen"]}},
            "comparisons.adapters.one: there is no adapter 'oen'; did you mean 'one'?",
        ),
        (
            "comparisons",
            {"cases": {"own": "givn"}},
            "comparisons.cases.own: there is no case 'givn'; did you mean 'given'?",
        ),
        ("comparisons", {"cases": {"own": "given"}}, "'own' and 'given' ask for different samples: kind differs"),
        ("cases__limits__limits", [0], "cases.limits.limits.0: Input should be greater than or equal to 1"),
        ("cases__base_model_deviation", {"kind": "suppression", "eval_samples": 1}, "is taken"),
    ],
)
def test_a_mistake_gives_one_line_before_any_job_runs(folder: Path, key: str, value: Any, text: str) -> None:
    more = {
        "limits": {"kind": "suppression", "eval_samples": 1},
        "own": {"kind": "random_words", "train_samples": 64, "eval_samples": 1},
    }
    with pytest.raises(OutctlError) as caught:
        plan_with(**{f"cases__{name}": case for name, case in more.items()}, **{key: value})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_words_is_the_same_wherever_it_lies(folder: Path) -> None:
    before = hashes(plan_with())
    (folder / "own.txt").rename(folder / "other.txt")
    assert hashes(plan_with(cases__listed__vocabulary="other.txt")) == before


def test_a_reference_model_is_fetched_too(folder: Path) -> None:
    plan = plan_with(base_model_deviation__reference="b")
    assert ("fetch-model", "b") in set(plan.jobs())
    assert "fetch-model/b" in plan.spec("evaluate-deviation", "a", "one").upstream
    assert plan.spec("evaluate", "a", "one", "given").hash == plan_with().spec("evaluate", "a", "one", "given").hash


def test_a_frozen_plan_has_the_same_jobs_whatever_is_edited_afterwards(folder: Path) -> None:
    plan = plan_with()
    frozen = plan.freeze()
    for name in ("text.txt", "own.txt"):
        (folder / name).unlink()
    assert hashes(thaw_plan(frozen)) == hashes(plan)


def test_tables_and_figures_are_those_that_there_is_something_for(folder: Path) -> None:
    assert figure_names(plan_with()) == [
        *("calibration", "tvd", "matrix", "learning_curves"),
        *("retention", "retention_positions", "deviation"),
    ]
    assert {file.name for file in table_files(plan_with())} == {
        "output_control_results.csv",
        "output_control_simple_metrics.csv",
        "output_control_comparisons.csv",
        "output_control_matrix.csv",
        "output_control_learning_curves.csv",
        "base_model_deviation_results.csv",
        "retention_results.csv",
        "retention_by_position.csv",
        "sampling_agreement_results.csv",
    }
    bare = plan_with(adapters={}, base_model_deviation=None, retention=None, agreement=None, temperature_scaling=None)
    assert figure_names(bare) == ["calibration", "tvd"]
    assert len(table_files(bare)) == 2
