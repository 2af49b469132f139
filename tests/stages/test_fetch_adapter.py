"""Adapters of an experiment that were trained elsewhere: planned, fetched and checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from outctl.errors import OutctlError
from outctl.models.loading import load_model
from outctl.pipeline.plan import Plan
from outctl.stages.dag import STAGES, load_plan
from outctl.stages.fetch_adapter import run
from outctl.stages.fetch_model import run as fetch_model

RECIPE = {"cases": {"given": 8}, "steps": 2, "held_out_samples": 2}
SOURCE = {"kind": "local", "path": "foreign"}
HUB = {"kind": "hub", "repo": "lab/adapter", "revision": "0" * 40}


def plan_of(adapters: dict[str, Any], **changes: Any) -> Plan:
    """The plan of an experiment with two models, `tiny` and `other`, in the working directory."""
    case = {"kind": "given_words", "train_samples": 8, "eval_samples": 2}
    own = {"models": ["tiny", "other"], "cases": {"given": case}, "registry": "models.yaml", "adapters": adapters}
    file = Path("config.yaml")
    file.write_text(yaml.safe_dump(own | changes, sort_keys=False))
    return load_plan(yaml.safe_load(file.read_text()), [file])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 30_000, "precision": "float32"}
    Path("models.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry, "other": entry}}))


@pytest.fixture
def foreign(tiny_model_dir: Callable[..., Path]) -> Path:
    """An adapter that another program made for the tiny model, and that model under the name `tiny`."""
    (Path("weights")).symlink_to(tiny_model_dir().parent / "original")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained("foreign")
    name_base("weights")
    (Path("foreign") / "training_args.bin").write_bytes(b"pickled")
    plan = plan_of({"elsewhere": {"source": SOURCE}})
    fetch_model(plan.spec("fetch-model", "tiny"), "tiny", plan.layout.model("tiny"))
    return Path("foreign")


def name_base(name: str) -> None:
    """Let the adapter name a base model."""
    file = Path("foreign") / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": name}))


def fetch(plan: Plan) -> Path:
    """Fetch the adapter for the tiny model."""
    output = plan.layout.adapter("tiny", "elsewhere")
    run(plan.spec("fetch-adapter", "tiny", "elsewhere"), plan.layout.model("tiny"), output)
    return output


def test_it_is_fetched_in_place_of_a_training_and_asked_like_any_other() -> None:
    plan = plan_of({"elsewhere": {"source": HUB, "models": ["tiny"]}, "tuned": RECIPE}, retention={"prompts": 2})
    jobs = {"/".join(job) for job in plan.jobs()}
    assert {job for job in jobs if job.startswith(("finetune", "fetch-adapter"))} == {
        "finetune/tiny/tuned",
        "finetune/other/tuned",
        "fetch-adapter/tiny/elsewhere",
    }
    asked = {"evaluate/tiny/elsewhere/given", "evaluate-retention/tiny/elsewhere", "evaluate/tiny/tuned/given"}
    assert asked <= jobs
    assert not any("other/elsewhere" in job for job in jobs)
    assert ("fetch-adapter", "tiny", "elsewhere") in plan.upstream("evaluate", "tiny", "elsewhere", "given")
    assert plan.variants == ["baseline", "elsewhere", "tuned"]
    of_other = plan.spec("aggregate-model", "other").settings
    assert of_other["variants"] == ["baseline", "tuned"]
    assert {pair[0] for pair in of_other["comparisons"]} == {"tuned"}
    together = plan.spec("aggregate").settings
    assert (together["variants"], together["elsewhere"]) == (plan.variants, {"elsewhere": ["tiny"]})
    assert together["trained_on"] == {"tuned": ["given"]}


def test_an_adapter_alone_needs_no_samples_to_train_on() -> None:
    plan = plan_of({"elsewhere": {"source": HUB}})
    assert [job for job in plan.jobs() if job[0] in ("make-samples", "finetune")] == [("make-samples", "given", "eval")]
    assert plan.outputs("fetch-adapter", "tiny", "elsewhere")[-1] == plan.layout.adapter("tiny", "elsewhere") / (
        "provenance.json"
    )


def test_what_peft_reads_is_copied_with_its_provenance(foreign: Path) -> None:
    plan = plan_of({"elsewhere": {"source": SOURCE}})
    output = fetch(plan)
    assert sorted(file.name for file in output.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "provenance.json",
    ]
    provenance = json.loads((output / "provenance.json").read_text())
    model = json.loads((plan.layout.model("tiny") / "provenance.json").read_text())
    assert provenance["base_weights_hash"] == model["weights_hash"]
    assert provenance["source"] == SOURCE
    assert load_model(plan.layout.model("tiny"), "float32", True, output).separable


def test_a_change_in_its_directory_makes_it_stale(foreign: Path) -> None:
    before = plan_of({"elsewhere": {"source": SOURCE}}).spec("fetch-adapter", "tiny", "elsewhere")
    again = plan_of({"elsewhere": {"source": SOURCE}}).spec("fetch-adapter", "tiny", "elsewhere")
    assert again.hash == before.hash
    name_base("")
    after = plan_of({"elsewhere": {"source": SOURCE}}).spec("fetch-adapter", "tiny", "elsewhere")
    assert after.hash != before.hash
    names = ("tiny", "elsewhere")
    changes = STAGES["fetch-adapter"].changes(before.settings, after.settings, names)
    assert changes == ["foreign holds other files than it did"]
    forced = plan_of({"elsewhere": {"source": SOURCE, "force": True}}).spec("fetch-adapter", *names)
    changes = STAGES["fetch-adapter"].changes(after.settings, forced.settings, names)
    assert changes == ["adapters.elsewhere.force was False and is True"]


def test_another_base_model_takes_the_key_force(foreign: Path) -> None:
    name_base("lab/another")
    with pytest.raises(
        OutctlError, match=r"made for the model 'lab/another', not for tiny; .*`force: true` in the config"
    ):
        fetch(plan_of({"elsewhere": {"source": SOURCE}}))
    plan = plan_of({"elsewhere": {"source": SOURCE, "force": True}})
    # Evaluations need no key of their own.
    assert load_model(plan.layout.model("tiny"), "float32", True, fetch(plan)).separable


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "adapter_config.json",
            "adapter elsewhere: foreign holds no adapter_config.json; name one in the layout of PEFT",
        ),
        ("adapter_model.safetensors", "holds no adapter_model.safetensors .only pickled weights, which can run code"),
    ],
)
def test_a_directory_without_an_adapter_is_refused(foreign: Path, file: str, message: str) -> None:
    (foreign / file).rename(foreign / "adapter_model.bin")
    with pytest.raises(OutctlError, match=message):
        fetch(plan_of({"elsewhere": {"source": SOURCE}}))


def test_a_path_that_is_no_directory_is_refused(foreign: Path) -> None:
    with pytest.raises(OutctlError, match=r"nowhere is no directory; correct adapters\.elsewhere\.source\.path"):
        fetch(plan_of({"elsewhere": {"source": {"kind": "local", "path": "nowhere"}}}))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (
            {"source": HUB, "models": ["thiny"]},
            "adapters.elsewhere.models.0: 'thiny' is no model of the experiment; did you",
        ),
        ({"source": HUB, "steps": 3}, "adapters.elsewhere.steps: unknown key"),
        ({"source": HUB | {"revision": "main"}}, "adapters.elsewhere.source.revision: "),
        (
            {"source": {"kind": "locl", "path": "x"}},
            "adapters.elsewhere.source.kind: 'locl' is not allowed; did you mean 'local'",
        ),
        ({"source": {"kind": "local"}}, "adapters.elsewhere.source.path: this key is required"),
        ({"steps": 2}, "adapters.elsewhere.cases: this key is required"),
    ],
)
def test_mistakes_are_named_where_they_stand(adapter: dict[str, Any], message: str) -> None:
    with pytest.raises(OutctlError, match=message):
        plan_of({"elsewhere": adapter})


def test_a_sweep_varies_recipes_alone() -> None:
    with pytest.raises(
        OutctlError, match=r"sweeps\.ranks\.base: 'elsewhere' was trained elsewhere, and has no recipe to vary"
    ):
        plan_of({"elsewhere": {"source": HUB}}, sweeps={"ranks": {"base": "elsewhere", "vary": {"rank": [4]}}})
