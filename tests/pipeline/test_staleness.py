"""What `outctl why` says, on an experiment whose outputs are made by hand: small files with true provenance."""

import os
import shutil
import sys
from base64 import urlsafe_b64encode
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.cli.main import main
from outctl.errors import OutctlError
from outctl.pipeline import fingerprint as fingerprints
from outctl.pipeline import provenance
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.setup import Job
from outctl.pipeline.staleness import CUT_OFF, check_unchanged, explain, job_of, stale_jobs
from outctl.stages.dag import STAGES, load_plan
from outctl.stages.finetune import Finetune

CONFIG: dict[str, Any] = {
    "models": ["a", "b"],
    "registry": "models.yaml",
    "models_dir": "models",
    "cases": {
        "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 4, "template": "given.yaml"},
        "own": {"kind": "random_words", "eval_samples": 4},
    },
    "adapters": {"one": {"cases": {"given": 4}, "steps": 2, "held_out_samples": 2}},
}
REGISTRY: dict[str, Any] = {
    "models": {
        "a": {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 10},
        "b": {
            "source": {"kind": "hub", "repo": "lab/b", "revision": "0" * 40},
            "chat": True,
            "parameters": 10,
        },
    }
}
SEVERAL = 3


def make(plan: Plan, *job: str) -> None:
    """Make a job's outputs; a model has a file of weights, which no plan knows."""
    path = plan.provenance(*job)
    outputs = [file for file in plan.outputs(*job) if file != path]
    if job[0] == "fetch-model":
        outputs.append(path.with_name("model.safetensors"))
    for file in outputs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("/".join(job))
    write_provenance(path, plan.spec(*job), outputs)


def plan_of(config: dict[str, Any] = CONFIG, registry: dict[str, Any] = REGISTRY) -> Plan:
    Path("models.yaml").write_text(yaml.safe_dump(registry))
    plan = load_plan(deepcopy(config), [])
    plan.inspect()
    return plan


@pytest.fixture(autouse=True)
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished experiment in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path("weights/model.safetensors").write_text("weights")
    Path("given.yaml").write_text("question: Say {{ shares[0].word }}\n")
    plan = plan_of()
    for job in plan.jobs():
        make(plan, *job)
    plan.write_specs()


def lines(plan: Plan) -> list[str]:
    return [f"{'/'.join(job)}: {line}" for job, found in stale_jobs(plan).items() for line in found]


def changed(path: str, value: Any, content: dict[str, Any] = CONFIG) -> dict[str, Any]:
    content = deepcopy(content)
    *sections, last = path.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value
    return content


def test_a_finished_experiment_is_up_to_date() -> None:
    plan = plan_of()
    assert stale_jobs(plan) == {}
    assert all(explain(plan, job) == {} for job in plan.jobs())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cases.given.tolerance", 0.2, "make-samples/given/eval: cases.given.tolerance was 0.1 and is 0.2"),
        ("cases.given.eval_samples", 5, "make-samples/given/eval: cases.given.eval_samples was 4 and is 5"),
        ("cases.given.train_samples", 9, "make-samples/given/train: cases.given.train_samples was 8 and is 9"),
        ("cases.own.percents.max", 90, "make-samples/own/eval: cases.own.percents.max was 95 and is 90"),
        ("cases.own.max_zipf", 3.0, "make-samples/own/eval: cases.own.max_zipf was 3.5 and is 3.0"),
        ("adapters.one.loss", "tvd", "finetune/a/one: adapters.one.loss was 'kl' and is 'tvd'"),
        ("adapters.one.layers", [0, 1], "finetune/a/one: adapters.one.layers was not set and is [0, 1]"),
        ("adapters.one.cases.given", 5, "finetune/a/one: adapters.one.cases.given was 4 and is 5"),
        ("evaluation.top_tokens", 30, "evaluate/a/baseline/own: evaluation.top_tokens was 20 and is 30"),
        ("statistics.confidence", 0.9, "aggregate-model/a: statistics.confidence was 0.95 and is 0.9"),
        ("seed", 1, "make-samples/own/eval: seed was 0 and is 1"),
        ("models", ["b", "a"], "figures: models was [a, b] and is [b, a]"),
        ("adapters", {}, "aggregate-model/b: adapters was [one] and is []"),
    ],
)
def test_a_changed_key_is_named_as_the_configuration_names_it(path: str, value: Any, expected: str) -> None:
    assert expected in lines(plan_of(changed(path, value)))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("models.a.chat", False, "finetune/a/one: models.a.chat was True and is False"),
        ("models.a.precision", "nf4", "evaluate/a/baseline/own: models.a.precision was 'auto' and is 'nf4'"),
        (
            "models.b.source.revision",
            "1" * 40,
            f"fetch-model/b: models.b.source.revision was '{'0' * 40}' and is '{'1' * 40}'",
        ),
    ],
)
def test_a_changed_key_of_the_registry_is_named_as_the_registry_names_it(path: str, value: Any, expected: str) -> None:
    assert expected in lines(plan_of(registry=changed(path, value, REGISTRY)))


def test_an_edited_template_is_shown() -> None:
    Path("given.yaml").write_text("question: Choose {{ shares[0].word }}\n")
    expected = (
        "question of the template of cases.given was 'Say {{ shares[0].word }}' and is 'Choose {{ shares[0].word }}'"
    )
    assert [f"make-samples/given/{split}: {expected}" for split in ("train", "eval")] == lines(plan_of())


def test_other_files_in_a_models_directory_are_said() -> None:
    Path("weights/model.safetensors").write_text("others")
    assert lines(plan_of()) == ["fetch-model/a: weights holds other files than it did"]


FILES = [
    ("results/figures/tvd.svg", "figures"),
    ("results/adapters/a/one/training.jsonl", "finetune/a/one"),
    ("models/a/model.safetensors", "fetch-model/a"),
    ("results/samples/own/eval.provenance.json", "make-samples/own/eval"),
]


@pytest.mark.parametrize(("file", "job"), FILES)
def test_a_file_that_was_changed_with_an_old_time_is_named(file: str, job: str) -> None:
    path = Path(file)
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"e", b"E", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lines(plan_of()) == [f"{job}: {file} was changed since it was written"]


@pytest.mark.parametrize(("file", "job"), FILES)
def test_a_file_that_is_gone_is_named(file: str, job: str) -> None:
    Path(file).unlink()
    assert lines(plan_of()) == [f"{job}: {file} is missing"]


def test_a_folder_that_is_gone_is_said_in_one_line() -> None:
    shutil.rmtree("results/adapters/a/one")
    assert lines(plan_of()) == [
        "finetune/a/one: results/adapters/a/one/adapter_config.json and 3 more files are missing"
    ]


def test_several_reasons_are_a_line_each() -> None:
    Path("results/samples/own/eval.jsonl").write_text("others")
    own = changed("cases.own.tolerance", 0.2)
    plan = plan_of(changed("seed", 1, own))
    found = stale_jobs(plan)["make-samples", "own", "eval"]
    assert len(found) == SEVERAL
    assert found[0] == "results/samples/own/eval.jsonl was changed since it was written"
    assert set(found[1:]) == {"cases.own.tolerance was 0.1 and is 0.2", "seed was 0 and is 1"}


def test_another_version_of_a_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = provenance.installed_version
    monkeypatch.setattr(
        provenance, "installed_version", lambda name: "9.9" if name == "vl-convert-python" else installed(name)
    )
    said = f"package vl-convert-python was {installed('vl-convert-python')} and is 9.9"
    assert lines(plan_of()) == [f"figures: {said}", f"report: {said}"]


def test_edited_code_is_named_by_its_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "edited"
    shutil.copytree(fingerprints.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("stages/figures.py", "pipeline/layout.py"):
        text = (root / name).read_text()
        (root / name).write_text(f"{text}\n\nprint(end='')\n")
    caches = (fingerprints._module, fingerprints.code_of, fingerprints.fingerprint)
    for cache in caches:
        cache.cache_clear()
    try:
        monkeypatch.setattr(fingerprints, "ROOT", root)
        plan = plan_of()
        found = stale_jobs(plan)
        assert found["figures",] == ["the code that it runs was edited: outctl.pipeline.layout, outctl.stages.figures"]
        assert found["aggregate",] == ["the code that it runs was edited: outctl.pipeline.layout"]
        shutil.rmtree("results/specs/code")
        assert stale_jobs(plan)["figures",] == ["the code that it runs was edited"]
        with pytest.raises(OutctlError, match="the code of figures was edited after the workflow was started"):
            check_unchanged(plan.spec("figures").model_copy(update={"code": "0" * 64}), STAGES["figures"])
    finally:
        for cache in caches:
            cache.cache_clear()


def test_a_job_that_was_cut_off_is_said() -> None:
    path = "results/evaluations/a/one/given.jsonl"
    # So long that Snakemake cuts the name into directories.
    name = urlsafe_b64encode(path.encode()).decode()
    marker = CUT_OFF / f"@{name[:20]}" / name[20:]
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    assert lines(plan_of()) == ["evaluate/a/one/given: it was being made when the workflow was killed"]


def test_what_was_made_again_makes_stale_those_who_have_read_it_and_says_so() -> None:
    Path("results/evaluations/a/one/given.jsonl").write_text("others")
    plan = plan_of()
    make(plan, "evaluate", "a", "one", "given")
    plan = plan_of()
    assert stale_jobs(plan) == {
        ("aggregate-model", "a"): ["evaluate/a/one/given was made again since"],
        ("aggregate",): [],
        ("figures",): [],
        ("report",): ["evaluate/a/one/given was made again since"],
    }
    for job in stale_jobs(plan):
        make(plan, *job)
    assert stale_jobs(plan_of()) == {}
    assert plan_of().spec("aggregate").mark == plan.spec("aggregate").mark != ""


def test_what_was_made_again_with_other_settings_makes_stale_those_who_have_read_it() -> None:
    config = changed("adapters.one.rank", 4)
    make(plan_of(config), "finetune", "a", "one")
    found = stale_jobs(plan_of(config))
    assert ("finetune", "a", "one") not in found
    assert found["evaluate", "a", "one", "own"] == ["finetune/a/one was made again since"]


def test_a_step_that_reads_others_than_it_did_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finetune, "upstream", lambda *arguments: [("make-samples", "own", "eval")])
    found = stale_jobs(plan_of())
    assert found["finetune", "b", "one"] == [
        "it reads make-samples/own/eval now",
        "it reads fetch-model/b no more",
        "it reads make-samples/given/train no more",
    ]
    assert found["evaluate", "b", "one", "own"] == []


def test_an_explanation_holds_the_job_and_the_nearest_causes_first() -> None:
    plan = plan_of(changed("adapters.one.rank", 4, changed("statistics.confidence", 0.9)))
    found = explain(plan, ("aggregate-model", "b"))
    assert list(found) == [("aggregate-model", "b"), ("finetune", "b", "one")]
    assert found["aggregate-model", "b"] == ["statistics.confidence was 0.95 and is 0.9"]
    assert explain(plan, ("evaluate", "b", "one", "own")) == {
        ("evaluate", "b", "one", "own"): [],
        ("finetune", "b", "one"): ["adapters.one.rank was 16 and is 4"],
    }
    assert explain(plan, ("evaluate", "b", "baseline", "own")) == {}


@pytest.mark.parametrize(
    ("target", "job"),
    [
        ("evaluate/a/one/own", ("evaluate", "a", "one", "own")),
        ("results/output_control_results.csv", ("aggregate",)),
        ("./results/figures/tvd.svg", ("figures",)),
        ("results/adapters/a/one", ("finetune", "a", "one")),
        ("models/b", ("fetch-model", "b")),
        ("models/b/model.safetensors", ("fetch-model", "b")),
        ("results/samples/given/eval.provenance.json", ("make-samples", "given", "eval")),
        ("figures", ("figures",)),
    ],
)
def test_a_target_names_its_job(target: str, job: Job) -> None:
    assert job_of(plan_of(), target) == job


@pytest.mark.parametrize("target", ["evaluate/a/one", "results/evaluations", "nothing.csv", "evaluate/c/one/own"])
def test_an_unknown_target_is_a_mistake_in_one_line(target: str) -> None:
    with pytest.raises(OutctlError) as caught:
        job_of(plan_of(), target)
    assert str(caught.value).startswith(
        f"{target}: no output of this experiment and no step of it; name a file below results"
    )
    assert "\n" not in str(caught.value)


def why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["outctl", "why", *arguments, "--config", "config.yaml"])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_command_says_what_is_stale_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    assert why(monkeypatch, capsys) == (0, "everything is up to date\n")
    assert why(monkeypatch, capsys, "figures") == (0, "figures is up to date\n")
    Path("config.yaml").write_text(yaml.safe_dump(changed("statistics.confidence", 0.9), sort_keys=False))
    reason = "statistics.confidence was 0.95 and is 0.9"
    assert why(monkeypatch, capsys, "results/figures/tvd.svg") == (
        0,
        f"figures: it reads what stale steps make\naggregate-model/a: {reason}\naggregate-model/b: {reason}\n",
    )
    code, text = why(monkeypatch, capsys)
    assert (code, len(text.splitlines())) == (0, 5)
    code, text = why(monkeypatch, capsys, "nothing.csv")
    assert code == 1
    assert text.startswith("outctl: nothing.csv: no output of this experiment")


def test_the_command_takes_the_versions_that_environments_pin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    Path("envs").mkdir()
    pins = {name: provenance.installed_version(name) for stage in STAGES.values() for name in stage.packages}
    pins["vl-convert-python"] = "9.9"
    requirements = "".join(f"      - {name}=={version}\n" for name, version in pins.items())
    Path("envs/cpu.yaml").write_text(f"dependencies:\n  - pip:\n{requirements}")
    code, text = why(monkeypatch, capsys, "--environments", "envs")
    first, second = text.splitlines()
    assert code == 0
    assert first.startswith("figures: package vl-convert-python was ")
    assert second.startswith("report: package vl-convert-python was ")
