"""What is checked of a model when it is fetched, and when an experiment with it is planned."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from command_line import ByHand
from outctl.cli.steps import run_stage
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.stages import model_check
from outctl.stages.dag import STAGES, load_plan
from outctl.stages.model_check import planning_notes

CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}<|assistant|>"
THINKING = CHAT + "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"


@pytest.fixture
def experiment(by_hand: Callable[..., ByHand], tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> ByHand:
    """An experiment with a model whose directory is its own."""
    made = by_hand()
    shutil.copytree(tiny_model_dir().parent / "original", tmp_path / "original")
    return made


def fetch_model(name: str) -> None:
    run_stage(STAGES["fetch-model"], (name,), None, Path("config/config.yaml"), {})


def planned(folder: Path, template: str | dict[str, str] | None, **entry: object) -> Plan:
    """The plan with this chat template in the model's directory, and these keys in its entry."""
    (folder / "original" / "chat_template.jinja").unlink(missing_ok=True)
    config = folder / "original" / "tokenizer_config.json"
    content = json.loads(config.read_text()) | {"chat_template": template}
    if isinstance(template, dict):
        content["chat_template"] = [{"name": name, "template": text} for name, text in template.items()]
    config.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    registry = folder / "config" / "models.yaml"
    tiny = yaml.safe_load(registry.read_text())["models"]["tiny"] | {"source": {"kind": "local", "path": "../original"}}
    for key in ("template_kwargs", "prefill", "system"):
        tiny.pop(key, None)
    registry.write_text(yaml.safe_dump({"models": {"tiny": tiny | entry}}))
    file = folder / "config" / "config.yaml"
    plan = load_plan(yaml.safe_load(file.read_text()), [file])
    plan.inspect()
    return plan


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "model tiny: the tokenizer has no chat template; set `chat: false` for this model"),
        ({"rag": CHAT, "tool_use": CHAT}, "model tiny: its chat templates are rag, tool_use, and none of them is the"),
        ("{{ 1 / 0 }}" + CHAT, "model tiny: the chat template refuses the prompt: division by zero"),
        (
            CHAT.replace("m['content']", "m['content'][:9]"),
            "model tiny: the chat template leaves out, moves or changes",
        ),
    ],
    ids=["none", "no default", "raises", "cuts"],
)
def test_a_template_that_cannot_be_used_is_refused_before_the_model_is_there(
    experiment: ByHand, template: str | dict[str, str] | None, message: str
) -> None:
    shutil.rmtree(experiment.folder / "resources")
    planned(experiment.folder, template)
    with pytest.raises(OutctlError) as caught:
        fetch_model("tiny")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not experiment.plan.layout.model("tiny").exists()
    # As a base model it needs none.
    planned(experiment.folder, template, chat=False)
    fetch_model("tiny")
    assert experiment.plan.layout.model("tiny").is_dir()


def test_an_open_think_block_is_said_with_the_key_that_closes_it(
    experiment: ByHand, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(experiment.folder, THINKING)
    assert planning_notes(plan) == []  # it is to be fetched again
    fetch_model("tiny")
    said = (
        "outctl: note: model tiny: its chat template leaves a think block open (<think>), so words are measured inside it; "
        "set `template_kwargs: {enable_thinking: false}`"
    )
    assert said in capsys.readouterr().err.splitlines()
    with monkeypatch.context() as patch:
        patch.setattr(model_check, "check_template", None)  # what was found when it was fetched is kept
        assert planning_notes(planned(experiment.folder, THINKING)) == [said]
    closed = planned(experiment.folder, THINKING, template_kwargs={"enable_thinking": False})
    assert planning_notes(closed) == []
    assert planning_notes(planned(experiment.folder, THINKING, prefill="</think>")) == []


def test_what_was_edited_since_the_model_was_fetched_is_checked_at_planning(experiment: ByHand) -> None:
    planned(experiment.folder, {"default": CHAT, "rag": CHAT})
    fetch_model("tiny")
    plan = planned(experiment.folder, {"default": CHAT, "rag": CHAT}, template_kwargs={"chat_template": "reg"})
    with pytest.raises(OutctlError, match="its chat templates are default, rag, and none of them is called 'reg'"):
        planning_notes(plan)
    assert not {job for job in plan.jobs() if job[0] == "fetch-model"} - {("fetch-model", "tiny")}


def test_a_model_that_may_think_is_asked_once_it_is_fetched(
    experiment: ByHand, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def begun(model: object, tokenizer: object, prompt: object) -> str:
        asked.append(type(model).__name__)
        return "<think>"

    from outctl.inference import thinking

    monkeypatch.setattr(thinking, "begun_block", begun)
    planned(experiment.folder, CHAT)
    fetch_model("tiny")
    assert asked == []
    planned(experiment.folder, CHAT + "{# <think> #}{{ '' if true else '<think>' }}")
    fetch_model("tiny")
    assert asked == ["LlamaForCausalLM"]
    assert "its likeliest answer begins a think block (<think>)" in capsys.readouterr().err
