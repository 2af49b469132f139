"""What a plan finds of earlier runs, what it keeps for jobs elsewhere, and what it removes."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.setup import Job
from outctl.stages.dag import load_plan, thaw_plan
from outctl.stages.dag import plan_of as plan_with
from outctl.storage.files import write_text

CONFIG: dict[str, Any] = {
    "models": ["small"],
    "registry": "models.yaml",
    "cases": {"given": {"kind": "given_words", "train_samples": 8, "eval_samples": 4, "template": "asking.yaml"}},
    "adapters": {"tuned": {"cases": {"given": 8}, "steps": 2, "held_out_samples": 2}},
}
MODELS = {"models": {"small": {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 10}}}
RECORDS: Job = ("evaluate", "small", "tuned", "given")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path("weights", "model.safetensors").write_bytes(b"numbers")
    Path("models.yaml").write_text(yaml.safe_dump(MODELS))
    Path("asking.yaml").write_text("question: 'Say {% for share in shares %}{{ share.word }} {% endfor %}'\n")


def plan_of(**changes: Any) -> Plan:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    return load_plan(yaml.safe_load(Path("config.yaml").read_text()), [Path("config.yaml")])


def specs(plan: Plan) -> dict[Job, tuple[str, str]]:
    return {job: (plan.spec(*job).hash, plan.spec(*job).repair) for job in plan.jobs()}


def make(plan: Plan, job: Job, content: str = "content") -> None:
    """Write what a job would, in its place."""
    *outputs, provenance = plan.outputs(*job)
    for file in outputs:
        write_text(file, f"{content} of {file.name}")
    write_provenance(provenance, plan.spec(*job), outputs)


def inspected(**changes: Any) -> Plan:
    """The plan of a fresh start, which has looked at what there is."""
    plan = plan_of(**changes)
    plan.inspect()
    return plan


def repairs(plan: Plan) -> dict[Job, str]:
    return {job: repair for job, (_, repair) in specs(plan).items() if repair}


def made() -> Plan:
    """A plan all of whose outputs are made."""
    plan = plan_of()
    for job in plan.jobs():
        make(plan, job)
    return plan


def test_whole_outputs_need_no_repair_and_missing_ones_neither() -> None:
    assert repairs(inspected()) == {}
    plan = made()
    assert repairs(inspected()) == {}
    plan.provenance(*RECORDS).unlink()
    assert repairs(inspected()) == {}


def test_a_truncated_output_is_repaired_and_no_other() -> None:
    plan = made()
    for job in plan.jobs():
        for file in plan.outputs(*job):
            content = file.read_bytes()
            file.write_bytes(content[:-3])
            assert list(repairs(inspected())) == [job]
            file.write_bytes(content)
            assert repairs(inspected()) == {}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"spec_hash": "0"}', '{"outputs": {}, "spec_hash": 3}'])
def test_a_broken_provenance_is_repaired(damage: str) -> None:
    plan = made()
    plan.provenance(*RECORDS).write_text(damage)
    assert list(repairs(inspected())) == [RECORDS]


def test_a_changed_content_of_the_same_length_is_found_behind_its_old_time() -> None:
    plan = made()
    file = plan.layout.records(*RECORDS[1:])
    before = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(repairs(inspected())) == [RECORDS]


def test_touched_and_copied_outputs_need_no_repair() -> None:
    plan = made()
    for job in plan.jobs():
        for file in plan.outputs(*job):
            file.touch()
    assert repairs(inspected()) == {}
    shutil.copytree("results", "copy")
    shutil.rmtree("results")
    Path("copy").rename("results")
    assert repairs(inspected()) == {}


def test_a_repair_keeps_its_name_until_it_is_done_and_after_it() -> None:
    file = made().layout.records(*RECORDS[1:])
    file.write_text("broken")
    plan = inspected()
    assert repairs(plan) == repairs(inspected())
    assert plan.spec(*RECORDS).hash == plan_of().spec(*RECORDS).hash
    assert plan.spec_path(*RECORDS) != plan_of().spec_path(*RECORDS)
    make(plan, RECORDS)
    assert repairs(inspected()) == repairs(plan)
    file.write_text("broken otherwise")
    again = inspected()
    assert list(repairs(again)) == [RECORDS]
    assert repairs(again) != repairs(plan)


def test_outputs_of_other_settings_are_made_again() -> None:
    made()
    changed = {"evaluation": {"tokens_per_pass": 64}}
    assert {job[0] for job in repairs(inspected(**changed))} == {
        "evaluate", "aggregate-model", "aggregate", "figures", "report"
    }  # fmt: skip


def test_a_frozen_plan_stays_as_it_was_whatever_is_edited() -> None:
    made().layout.records(*RECORDS[1:]).write_text("broken")
    plan = inspected()
    before, file = specs(plan), plan.freeze()
    assert inspected().freeze() == file
    Path("asking.yaml").write_text("question: 'Choose {{ shares[0].word }}'\n")
    Path("weights", "model.safetensors").write_bytes(b"others")
    Path("models.yaml").write_text(
        yaml.safe_dump({"models": {"small": MODELS["models"]["small"] | {"precision": "nf4"}}})
    )
    edited = inspected(seed=1)
    assert all(edited.spec(*job).hash != before[job][0] for job in before)
    assert edited.freeze() != file
    Path("config.yaml").unlink()
    thawed = thaw_plan(file)
    assert specs(thawed) == before
    assert thawed.layout == plan.layout
    assert repairs(thawed).keys() == {RECORDS}
    assert thawed.inputs == plan.inputs


def test_versions_of_pinned_environments_are_frozen_too() -> None:
    plan = plan_of()
    pinned = plan_with(plan.experiment, plan.registry, {"torch": "1.2.3"})
    assert pinned.spec(*RECORDS).packages["torch"] == "1.2.3"
    assert specs(thaw_plan(pinned.freeze())) == specs(pinned)


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"experiment": 1}'])
def test_a_broken_frozen_plan_is_one_line(damage: str) -> None:
    file = plan_of().freeze()
    file.write_text(damage)
    with pytest.raises(OutctlError, match=r"json: not (valid JSON|a plan of this version)") as refused:
        thaw_plan(file)
    assert "\n" not in str(refused.value)
    with pytest.raises(OutctlError, match="no such file"):
        thaw_plan(Path("nowhere.json"))


def test_only_outdated_specifications_of_this_experiment_are_removed() -> None:
    old = plan_of(models_dir="models")
    old.write_specs()
    new = plan_of(models_dir="models", seed=1)
    new.write_specs()
    outdated = {old.spec_path(*job) for job in old.jobs()} - {new.spec_path(*job) for job in new.jobs()}
    assert outdated
    before = set(Path("results/specs").rglob("*.json")) | set(Path("models").rglob("*.json"))
    new.remove_outdated_specs()
    after = set(Path("results/specs").rglob("*.json")) | set(Path("models").rglob("*.json"))
    assert before - after == outdated


def test_checkpoints_are_removed_only_of_jobs_whose_outputs_are_there() -> None:
    plan, other = plan_of(), plan_of(seed=1)
    training: Job = ("finetune", "small", "tuned")
    make(plan, RECORDS)
    make(other, training)
    folders = {job: plan.layout.checkpoints() / plan.spec(*job).hash[:16] for job in (RECORDS, training)}
    foreign = plan.layout.checkpoints() / other.spec(*training).hash[:16]
    for folder in (*folders.values(), foreign):
        (folder / "finished").mkdir(parents=True)
    plan.remove_checkpoints()
    assert set(plan.layout.checkpoints().iterdir()) == {folders[training], foreign}


def test_what_one_job_at_a_time_may_write_is_each_model_adapter_and_records() -> None:
    plan = plan_of()
    layout = plan.layout
    assert plan.guarded_outputs() == [
        layout.model("small"),
        layout.adapter("small", "tuned"),
        layout.records("small", "baseline", "given"),
        layout.records("small", "tuned", "given"),
    ]
