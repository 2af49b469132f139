"""What plug-ins make stale, and that jobs need no more of them than their specifications."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.config.plugins import load_plugins
from outctl.config.registries import CASE_KINDS, LOSSES, METRICS
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.specs import read_spec
from outctl.pipeline.staleness import check_unchanged, explain
from outctl.stages.dag import STAGES, load_plan, thaw_plan
from outctl.stages.finetune import FinetuneSettings
from outctl.stages.make_samples import SamplesSettings
from plugin_examples import TEXTS, write_plugins

PLUGINS = ("weekdays.py", "hellinger.py", "colours.py")
RECIPE = {"steps": 2, "held_out_samples": 2, "batch_size": 2}
CONFIG: dict[str, Any] = {
    "models": ["a"],
    "registry": "models.yaml",
    "plugins": list(PLUGINS),
    "cases": {
        "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 4},
        "days": {"kind": "weekdays", "template": "given_words", "train_samples": 8, "eval_samples": 4},
        "paint": {"kind": "given_words", "vocabulary": "colours", "eval_fraction": 0.5, "eval_samples": 4},
    },
    "adapters": {
        "plain": {"cases": {"given": 8}, **RECIPE},
        "own": {"cases": {"given": 8}, **RECIPE, "loss": "hellinger"},
        "days": {"cases": {"days": 8}, **RECIPE},
    },
}
LAST = {"aggregate-model/a", "aggregate", "figures", "report"}
EVALUATED = {"plain", "own", "days"}
DAYS = {
    *("make-samples/days/train", "make-samples/days/eval", "finetune/a/days"),
    *(f"evaluate/a/days/{case}" for case in ("given", "days", "paint")),
    *(f"evaluate/a/{variant}/days" for variant in ("baseline", "plain", "own")),
    *LAST,
}
OWN = {"finetune/a/own", *(f"evaluate/a/own/{case}" for case in ("given", "days", "paint")), *LAST}
PAINT = {
    "make-samples/paint/eval",
    *(f"evaluate/a/{name}/paint" for name in ("baseline", "plain", "own", "days")),
    *LAST,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the plug-ins of the documentation, none of which stays behind."""
    monkeypatch.chdir(tmp_path)
    source = {"kind": "hub", "repo": "lab/b", "revision": "0" * 40}
    Path("models.yaml").write_text(
        yaml.safe_dump({"models": {"a": {"source": source, "chat": True, "parameters": 10}}})
    )
    write_plugins(tmp_path, *PLUGINS)
    yield tmp_path
    load_plugins([])


def hashes(plan: Plan) -> dict[str, str]:
    return {"/".join(job): plan.spec(*job).hash for job in plan.jobs()}


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("weekdays.py", "draw.random.sample(DAYS", "draw.random.sample(DAYS[::-1]", DAYS),
        ("hellinger.py", "0.5 * (((", "0.25 * (((", OWN),
        ("colours.py", '"pale"', '"soft"', PAINT),
        ("colours.py", "Each colour", "Every colour", set()),
    ],
)
def test_an_edit_of_a_plugin_makes_stale_what_uses_it(file: str, old: str, new: str, stale: set[str]) -> None:
    before = hashes(load_plan(CONFIG, []))
    Path(file).write_text(TEXTS[file].replace(old, new))
    after = hashes(load_plan(CONFIG, []))
    assert {job for job in before if before[job] != after[job]} == stale


def test_a_plugin_that_nothing_uses_makes_nothing_stale() -> None:
    before = hashes(load_plan(CONFIG, []))
    Path("other.py").write_text(TEXTS["hellinger.py"].replace('("hellinger")', '("other")').replace("@METRICS", "# @M"))
    assert hashes(load_plan(CONFIG | {"plugins": [*PLUGINS, "other.py"]}, [])) == before


def test_a_metric_makes_nothing_stale_but_tables() -> None:
    plugins = [name for name in PLUGINS if name != "hellinger.py"]
    config = CONFIG | {"plugins": plugins, "adapters": {"plain": CONFIG["adapters"]["plain"]}}
    before = hashes(load_plan(config, []))
    after = hashes(load_plan(config | {"plugins": list(PLUGINS)}, []))
    assert {job for job in before if before[job] != after[job]} == LAST


def test_jobs_that_use_no_plugin_have_none_in_their_specification() -> None:
    plan = load_plan(CONFIG, [])
    assert plan.spec("evaluate", "a", "baseline", "days").plugins == {}
    assert plan.spec("finetune", "a", "plain").plugins == {}
    assert list(plan.spec("make-samples", "days", "eval").plugins) == ["weekdays.py"]
    assert plan.spec("make-samples", "given", "eval").entries == [
        "outctl.tasks.kinds.given_words",
        "outctl.tasks.vocabularies.common",
    ]


def test_a_job_runs_on_a_host_that_has_no_plugin_file() -> None:
    plan = load_plan(CONFIG, [])
    plan.write_specs()
    frozen = plan.freeze()
    files = {job: plan.spec_path(*job) for job in (("make-samples", "days", "eval"), ("finetune", "a", "own"))}
    expected = hashes(plan)
    for name in PLUGINS:
        Path(name).unlink()
    load_plugins([])
    assert "weekdays" not in CASE_KINDS
    spec = read_spec(files["make-samples", "days", "eval"], "make-samples")
    check_unchanged(spec, STAGES["make-samples"])
    assert spec.settings_as(SamplesSettings).case.kind == "weekdays"
    recipe = read_spec(files["finetune", "a", "own"], "finetune").settings_as(FinetuneSettings).recipe
    assert LOSSES[recipe.loss].__doc__ == "½ sum (sqrt p - sqrt t)² over the words and *anything else*."
    load_plugins([])
    assert hashes(thaw_plan(frozen)) == expected
    assert "hellinger" in METRICS


def test_the_code_of_the_package_that_a_plugin_reaches_counts() -> None:
    plan = load_plan(CONFIG, [])
    spec = plan.spec("make-samples", "days", "eval")
    stage = STAGES["make-samples"]
    code = stage.code_by_module(spec.entries, spec.plugins)
    assert {"weekdays.py", "outctl.tasks.drawing", "outctl.tasks.shares"} <= set(code)
    assert stage.code_by_module().keys().isdisjoint({"weekdays.py", "outctl.tasks.shares"})
    with pytest.raises(OutctlError, match="the code of make-samples was edited"):
        check_unchanged(spec.model_copy(update={"plugins": {}}), stage)


def test_packages_that_a_plugin_imports_count_for_the_jobs_that_use_it() -> None:
    Path("hellinger.py").write_text("import yaml\n" + TEXTS["hellinger.py"])
    plan = load_plan(CONFIG, [])
    assert "pyyaml" in plan.spec("finetune", "a", "own").packages
    assert "pyyaml" not in plan.spec("finetune", "a", "plain").packages
    # An environment that does not pin a package says nothing of its version.
    versions = dict.fromkeys(plan.spec("finetune", "a", "plain").packages, "1.0")
    assert "pyyaml" not in load_plan(CONFIG, [], versions).spec("finetune", "a", "own").packages


def test_why_names_the_plugin_that_was_edited() -> None:
    plan = load_plan(CONFIG, [])
    plan.write_specs()
    for job in plan.jobs():
        *files, provenance = plan.outputs(*job)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("/".join(job))
        provenance.parent.mkdir(parents=True, exist_ok=True)
        write_provenance(provenance, plan.spec(*job), files)
    Path("hellinger.py").write_text(TEXTS["hellinger.py"].replace("0.5 * (((", "0.25 * ((("))
    plan = load_plan(CONFIG, [])
    plan.inspect()
    assert explain(plan, ("finetune", "a", "own")) == {
        ("finetune", "a", "own"): ["the code that it runs was edited: hellinger.py"]
    }
