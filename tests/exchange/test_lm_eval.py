"""Questions as tasks of lm-evaluation-harness: what the exported directory says, and that the harness runs it."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from plain_inference import plain_logits

from outctl.errors import OutctlError
from outctl.exchange.answers import distribution_scores
from outctl.exchange.lm_eval_export import export_tasks
from outctl.inference.prompts import build_prompts
from outctl.inference.word_forms import form_tokens
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message, Sample

TURN = Message(role="user", content="Say one word: 20% ark, 80% atom")


def sample(number: int = 0, messages: list[Message] | None = None, **options: Any) -> Sample:
    given = {"words": ["ark", "atom"], "target": [0.2, 0.8], "tolerance": 0.1, "seed": 0} | options
    return Sample.model_validate(
        {"sample_id": f"s{number}", "case": "given", "messages": messages or [TURN], **given}
    )  # fmt: skip


def functions(directory: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("outctl_words", directory / "outctl_words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_export_holds_every_form_of_every_word_and_whose_it_is(tmp_path: Path) -> None:
    system = Message(role="system", content="Be {{ exact }}.")
    answers = {"words": ["Mars", "another"], "answers": [["Mars"], ["Venus", "Earth"]], "at_most": True}
    cases = {"one": [sample(messages=[system, TURN])], "two": [sample(**answers)]}
    assert export_tasks(cases, tmp_path / "tasks") == {}
    one, two = (json.loads((tmp_path / "tasks" / f"{case}.jsonl").read_text()) for case in cases)
    assert (one["system"], one["question"]) == ("Be {{ exact }}.", TURN["content"])
    assert one["forms"] == ["ark", " ark", "Ark", " Ark", "atom", " atom", "Atom", " Atom"]
    assert one["owners"] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert dict(zip(two["forms"], two["owners"], strict=True)) == {
        "Mars": 0, " Mars": 0, "Venus": 1, " Venus": 1, "Earth": 1, " Earth": 1,
    }  # fmt: skip
    assert "outctl_one" in (tmp_path / "tasks" / "outctl.yaml").read_text()


def test_cases_that_cannot_be_asked_are_left_out_and_said(tmp_path: Path) -> None:
    shown = [TURN, Message(role="assistant", content="ark"), TURN]
    cases = {"given": [sample()], "own": [sample(words=None)], "shown": [sample(messages=shown)]}
    assert export_tasks(cases, tmp_path / "tasks").keys() == {"own", "shown"}
    assert {path.stem for path in (tmp_path / "tasks").glob("*.jsonl")} == {"given"}
    with pytest.raises(OutctlError, match="own: the model picks the words"):
        export_tasks({"own": cases["own"]}, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    export_tasks({"old": [sample()]}, tmp_path / "tasks")
    export_tasks({"new": [sample()]}, tmp_path / "tasks")
    assert {path.stem for path in (tmp_path / "tasks").glob("*.jsonl")} == {"new"}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("everything")
    with pytest.raises(OutctlError, match="thesis"):
        export_tasks({"new": [sample()]}, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "everything"


@pytest.mark.parametrize("at_most", [False, True])
def test_scores_are_those_of_outctl(tmp_path: Path, at_most: bool) -> None:
    pytest.importorskip("datasets")
    export_tasks({"given": [sample(at_most=at_most)]}, tmp_path / "tasks")
    module = functions(tmp_path / "tasks")
    (doc,) = module.questions(file="given.jsonl", version=1)["test"]
    masses = [0.1, 0.05, 0.0, 0.1, 0.3, 0.2, 0.0, 0.05]
    found = module.scores(doc, [(math.log(p) if p else -math.inf, False) for p in masses])
    expected = distribution_scores([0.25, 0.55], [0.2, 0.8], at_most)
    assert found["control_slope"] == (0.2, pytest.approx(0.25 / 0.8))
    for name in ("tvd", "conditional_tvd", "mass"):
        assert found[name] == pytest.approx(expected[name]), name
    assert found["within_tolerance"] == (expected["tvd"] <= 0.1)
    assert module.slope([(0.1, 0.2), (0.5, 0.4), (0.9, math.nan)]) == pytest.approx(0.5)
    assert math.isnan(module.slope([(0.1, 0.2), (0.1, 0.4)]))


@pytest.mark.slow
def test_the_harness_finds_what_a_plain_pass_a_form_finds(
    tmp_path: Path, tiny_model: Callable[..., LoadedModel]
) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    loaded = tiny_model()
    system = Message(role="system", content="at last")
    asked = [[TURN], [system, TURN], [Message(role="user", content="an ark")]]
    words = [["ark", "atom"], ["atom", "ark"], ["tan", "an"]]
    rows = [
        sample(number, messages, words=own) for number, (messages, own) in enumerate(zip(asked, words, strict=True))
    ]
    export_tasks({"given": rows}, tmp_path / "tasks")
    results = lm_eval.simple_evaluate(
        model=HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, backend="causal", batch_size=1, device="cpu"),
        tasks=["outctl"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks")),
        apply_chat_template=True,
        log_samples=True,
        bootstrap_iters=0,
    )
    prompts = build_prompts(loaded.tokenizer, asked, chat=True)
    forms = form_tokens(loaded.tokenizer, prompts, words)
    exact = answer_questions(loaded.model, loaded.tokenizer, word_questions(loaded.tokenizer, prompts, words))
    found = sorted(results["samples"]["outctl_given"], key=lambda row: row["doc"]["sample_id"])
    distances = []
    for prompt, own, row, answer in zip(prompts, forms, found, exact, strict=True):
        with torch.no_grad():
            masses = [sum(_mass(loaded, prompt.tokens, form) for form in one) for one in own]
        expected = distribution_scores(masses, [0.2, 0.8], at_most=False)
        for name in ("tvd", "conditional_tvd", "mass"):
            assert row[name] == pytest.approx(expected[name], abs=1e-5), (name, row["doc"])
        # What outctl adds is that the word must end behind its form.
        assert all(math.exp(ended) < mass for ended, mass in zip(answer.log_probabilities, masses, strict=True))
        distances.append(expected["tvd"])
    assert results["results"]["outctl_given"]["tvd,none"] == pytest.approx(sum(distances) / 3, abs=1e-5)


def _mass(loaded: LoadedModel, prompt: tuple[int, ...], form: tuple[int, ...]) -> float:
    log_p = plain_logits(loaded.model, [*prompt, *form]).double().log_softmax(-1)
    return math.exp(sum(log_p[len(prompt) - 1 + place, token].item() for place, token in enumerate(form)))
