"""How much goes through a model at once, and what happens when that is too much."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from outctl.errors import OutctlError
from outctl.inference import passes
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.models.loading import LoadedModel

HUGE = 2**62


def doubled(items: range | list[int], most: int) -> list[int]:
    """Twice each item; more than `most` of them ask the real allocator for more than any machine has."""
    if len(items) > most:
        torch.empty(HUGE, dtype=torch.int8)
    return [2 * item for item in items]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8])
def test_work_that_does_not_fit_is_done_in_halves_and_in_order(most: int) -> None:
    assert split_on_out_of_memory(range(8), lambda part: doubled(part, most)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert split_on_out_of_memory([], lambda part: doubled(part, most)) == []


def test_a_single_item_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OutctlError, match="memory does not suffice for a single prompt"):
        split_on_out_of_memory(range(8), lambda part: doubled(part, 0))


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def broken(_: range) -> list[int]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        split_on_out_of_memory(range(8), broken)


def test_tokens_follow_the_free_memory(tiny_model: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().model
    assert tokens_that_fit(model) == passes.MOST["cpu"]
    # Training keeps what each layer computes, and what a batch's prompts share is best computed once.
    assert tokens_that_fit(model, training=True) > passes.MOST["cpu"]
    monkeypatch.setattr(passes, "MOST", {"cpu": 2**40})
    assert tokens_that_fit(model, training=True) < tokens_that_fit(model)
    monkeypatch.setattr(passes, "SHARE", 1e-9)
    assert tokens_that_fit(model) == tokens_that_fit(model, training=True) == passes.LEAST


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
from outctl.inference.prompts import build_prompts
from outctl.inference.engine_check import choose_engine
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import load_model

torch.set_num_threads(1)
loaded = load_model(Path(sys.argv[1]), "float32", chat=True)
choose_engine(loaded.model)
prompts = build_prompts(
    loaded.tokenizer, [[{"role": "user", "content": f"{n} " + "mark a kansas " * 40}] for n in range(32)], chat=True
)
questions = word_questions(loaded.tokenizer, prompts, [["ark", "atom"]] * 32)
passes = []
loaded.model.register_forward_hook(lambda *call: passes.append(1))
for room in (None, int(sys.argv[2]) << 20):
    if room:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, -1))
    passes.clear()
    found = [a.log_probabilities for a in answer_questions(loaded.model, loaded.tokenizer, questions, 10**6)]
    print(json.dumps([len(passes), found]))
"""


@pytest.mark.slow
def test_answers_are_the_same_where_memory_is_short(tiny_model_dir: Callable[..., Path]) -> None:
    """A process whose address space is limited: the first passes fail in the allocator, smaller ones do not."""
    command = [sys.executable, "-c", LIMITED, str(tiny_model_dir("llama")), "40"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (few, free), (many, limited) = (json.loads(line) for line in run.stdout.splitlines())
    assert many > few
    for row, expected in zip(limited, free, strict=True):
        assert row == pytest.approx(expected, abs=2e-5)
