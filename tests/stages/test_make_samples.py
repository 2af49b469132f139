import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import check_outputs
from outctl.pipeline.specs import read_spec
from outctl.stages.dag import load_plan
from outctl.stages.make_samples import run as make_samples
from outctl.storage.files import read_json
from outctl.tasks.samples import read_samples

CASES: dict[str, dict[str, Any]] = {
    "pairs": {"kind": "given_words", "train_samples": 20, "eval_samples": 10, "vocabulary_size": 200},
    "triples": {
        "kind": "given_words",
        "num_words": 3,
        "train_samples": 20,
        "eval_samples": 10,
        "vocabulary_size": 300,
        "template": "mine.yaml",
    },
    "own": {"kind": "random_words", "train_samples": 20, "eval_samples": 10},
    "shown": {"kind": "icl_random_words", "train_samples": 20, "eval_samples": 10},
}
FILES = [(case, split) for case in CASES for split in ("train", "eval")]


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("make"))
        model = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 10}
        Path("models.yaml").write_text(yaml.safe_dump({"models": {"tiny": model}}))
        question = "{% for share in shares %}{{ share.percent }} {{ share.word }} {% endfor %}"
        Path("mine.yaml").write_text(yaml.safe_dump({"question": question}))
        yield


def plan_of(results: str, seed: int = 0, **options: Any) -> Plan:
    cases = {name: {**case, **options} for name, case in CASES.items()}
    adapters = {"lora": {"cases": dict.fromkeys(CASES, 1), "steps": 1, "held_out_samples": 2}}
    data = {"models": ["tiny"], "registry": "models.yaml", "cases": cases, "adapters": adapters}
    return load_plan({**data, "results_dir": results, "seed": seed}, [])


def make(plan: Plan) -> dict[tuple[str, str], bytes]:
    """Content of every file of samples, made as the jobs of a plan make them."""
    plan.write_specs()
    content = {}
    for _, case, split in plan.jobs("make-samples"):
        path = plan.layout.samples(case, split)
        make_samples(read_spec(plan.spec_path("make-samples", case, split), "make-samples"), path)
        content[case, split] = path.read_bytes()
    return content


@pytest.fixture(scope="module")
def plan(here) -> Plan:
    return plan_of("results")


@pytest.fixture(scope="module")
def made(plan) -> dict[tuple[str, str], bytes]:
    return make(plan)


def test_same_configuration_gives_the_same_bytes(made):
    assert list(made) == FILES
    assert make(plan_of("again")) == made


def test_another_seed_gives_other_samples_in_every_file(made):
    other = make(plan_of("other", seed=1))
    assert {file for file in FILES if made[file] == other[file]} == set()


def test_smaller_file_is_the_beginning_of_a_larger_one_and_leaves_the_other_split_alone(made):
    larger = make(plan_of("larger", eval_samples=15))
    for case in CASES:
        assert larger[case, "eval"].startswith(made[case, "eval"])
        assert (made[case, "eval"].count(b"\n"), larger[case, "eval"].count(b"\n")) == (10, 15)
        assert larger[case, "train"] == made[case, "train"]


def test_files_hold_what_the_configuration_asks_for(plan, made):
    for case, split in made:
        samples = read_samples(plan.layout.samples(case, split))
        assert len(samples) == CASES[case][f"{split}_samples"]
        assert len({sample.sample_id for sample in samples}) == len(samples)
        assert {sample.case for sample in samples} == {case}
        assert {len(sample.target) for sample in samples} == {CASES[case].get("num_words", 2)}


def test_template_of_a_user_asks_the_questions(plan, made):
    for sample in read_samples(plan.layout.samples("triples", "eval")):
        parts = [f"{round(share * 100)} {word}" for word, share in zip(sample.words, sample.target, strict=True)]
        assert sample.messages == [{"role": "user", "content": " ".join(parts)}]


def test_train_and_eval_files_share_no_word_and_no_seed(plan, made):
    words: dict[str, set[str]] = {"train": set(), "eval": set()}
    seeds: dict[str, set[int]] = {"train": set(), "eval": set()}
    for case, split in made:
        for sample in read_samples(plan.layout.samples(case, split)):
            words[split].update(sample.words or [])
            seeds[split].add(sample.seed)
    assert words["train"]
    assert words["eval"]
    assert words["train"].isdisjoint(words["eval"])
    assert seeds["train"].isdisjoint(seeds["eval"])


def test_provenance_names_specification_and_checksum(plan, made):
    path = plan.layout.samples("pairs", "eval").with_suffix(".provenance.json")
    spec = plan.spec("make-samples", "pairs", "eval")
    provenance = read_json(path)
    assert provenance["spec_hash"] == spec.hash
    assert provenance["spec"] == spec.model_dump(mode="json")
    content = made["pairs", "eval"]
    expected = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert provenance["outputs"] == {"eval.jsonl": expected}
    assert check_outputs(path, spec.hash) == provenance


def test_altered_samples_do_not_pass_for_those_that_were_made(tmp_path, plan, made):
    shutil.copytree(plan.layout.samples("pairs", "eval").parent, tmp_path / "pairs")
    (tmp_path / "pairs" / "eval.jsonl").write_bytes(made["pairs", "eval"].replace(b"0.1", b"0.2"))
    with pytest.raises(OutctlError, match=r"eval\.jsonl: missing or not as it was written"):
        check_outputs(tmp_path / "pairs" / "eval.provenance.json")


def test_samples_of_other_settings_do_not_pass_for_the_current_ones(plan, made):
    changed = plan_of("results", tolerance=0.2)
    path = plan.layout.samples("pairs", "eval").with_suffix(".provenance.json")
    with pytest.raises(OutctlError, match="made from other settings"):
        check_outputs(path, changed.spec("make-samples", "pairs", "eval").hash)


def test_failure_leaves_no_file(tmp_path, plan):
    spec = plan.spec("make-samples", "pairs", "eval")
    settings = {**spec.settings, "case": {**spec.settings["case"], "eval_fraction": 0.0001}}
    with pytest.raises(OutctlError, match="words are left for eval"):
        make_samples(spec.model_copy(update={"settings": settings}), tmp_path / "eval.jsonl")
    assert list(tmp_path.iterdir()) == []
