"""Drawn answers: against exact probabilities, with a rule that is wrong on purpose, and against answers by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from scipy.stats import binomtest, chisquare

from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import build_prompts
from outctl.inference.sampling import classify, sample_answers
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import WordQuestion, answer_questions, word_questions
from outctl.models.loading import LoadedModel, load_model
from outctl.models.lora import compute_in_input_type
from outctl.tasks.samples import Message

TinyModel = Callable[..., LoadedModel]
BigramModel = Callable[..., LoadedModel]
START = "<|assistant|>"


def ask(loaded: LoadedModel, words: Sequence[str], *contents: str) -> list[WordQuestion]:
    conversations = [[Message(role="user", content=content)] for content in contents]
    prompts = build_prompts(loaded.tokenizer, conversations, chat=True)
    return word_questions(loaded.tokenizer, prompts, [words] * len(prompts))


def answers(loaded: LoadedModel, questions: Sequence[WordQuestion], count: int, seed: int = 0, **options: Any) -> Any:
    return list(sample_answers(loaded.model, questions, count, seed, **options))


def continuations(loaded: LoadedModel) -> torch.Tensor:
    return word_continuations(loaded.tokenizer, len(loaded.tokenizer))


def p_values(loaded: LoadedModel, questions: Sequence[WordQuestion], count: int, rule: torch.Tensor) -> list[float]:
    """For each question, how well the counts of the answers agree with the exact probabilities."""
    found = []
    exact = answer_questions(loaded.model, loaded.tokenizer, questions)
    for question, answer, drawn in zip(questions, exact, answers(loaded, questions, count), strict=True):
        numbers = [classify(one, question.forms, rule) for one in drawn]
        expected = (torch.tensor(answer.log_probabilities, dtype=torch.float64).exp() * count).tolist()
        assert min(expected) > 4
        observed = [numbers.count(number) for number in range(len(expected))]
        found.append(float(chisquare([*observed, count - sum(observed)], [*expected, count - sum(expected)]).pvalue))
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gpt_oss", "mamba"])
def test_frequencies_agree_with_exact_probabilities_and_by_another_rule_they_do_not(
    architecture: str, tiny_model: TinyModel
) -> None:
    loaded = tiny_model(architecture, initializer_range=0.1)
    questions = ask(loaded, ["ark", "atom", "a", "k"], "Say", "Say ark: 70%")
    rule = continuations(loaded)
    assert min(p_values(loaded, questions, 4000, rule)) > 0.01
    # As if no word ever went on, or as if every one did.
    assert max(p_values(loaded, questions, 8000, torch.zeros_like(rule))) < 1e-6
    assert max(p_values(loaded, questions, 8000, torch.ones_like(rule))) < 1e-6


def test_words_of_several_tokens_have_their_probabilities(bigram_model: BigramModel) -> None:
    """*ark* in three forms, one of them two tokens; *arkansas* and *arkan*, two tokens that begin as *ark* does."""
    table = {
        START: {"ark": 0.4, "Ark": 0.1, " ": 0.3, "atom": 0.1},
        " ": {"Ark": 0.5, "at": 0.5},
        "ark": {"ansas": 0.3, "an": 0.3, "'": 0.2},
        "an": {"s": 0.5},
    }
    loaded = bigram_model(table)
    questions = ask(loaded, ["ark", "arkansas", "arkan", "atom", "at"], "or")
    (answer,) = answer_questions(loaded.model, loaded.tokenizer, questions)
    exact = [0.4 * 0.4 + 0.1 + 0.15, 0.12, 0.06, 0.1, 0.15]
    assert torch.tensor(answer.log_probabilities).exp().tolist() == pytest.approx(exact, abs=1e-5)
    assert min(p_values(loaded, questions, 4000, continuations(loaded))) > 0.01
    # Whoever reads the first token alone takes *arkansas* and *arkan* for *ark*.
    assert max(p_values(loaded, questions, 4000, torch.zeros_like(continuations(loaded)))) < 1e-9


def test_an_answer_ends_with_the_token_that_decides(bigram_model: BigramModel) -> None:
    table = {START: {"ark": 0.5, " ": 0.5}, " ": {"Ark": 0.5, "m": 0.5}, "ark": {"ansas": 0.5}, "ansas": {"a": 0.5}}
    loaded = bigram_model(table)
    questions = ask(loaded, ["ark", "arkansas"], "or")
    texts = {loaded.tokenizer.decode(list(answer)) for answer in answers(loaded, questions, 300)[0]}
    assert texts == {"ark<|end|>", "arkansas<|end|>", "arkansasa", " m", " Ark<|end|>"}


@pytest.mark.parametrize(
    ("tokens", "number"),
    [
        ([1, 9], 0),
        ([1, 2, 9], 1),
        ([4, 9], 1),
        ([1, 2, 1], None),
        ([1, 5], None),
        ([2, 9], None),
        ([1], None),
        ([1, 2], None),
        ([], None),
    ],
)
def test_an_answer_is_the_word_whose_form_it_begins_with_and_that_ends_there(
    tokens: list[int], number: int | None
) -> None:
    rule = torch.tensor([False, True, True, False, False, True, False, False, False, False])
    assert classify(tokens, [[(1,)], [(1, 2), (4,)]], rule) == number


def test_answers_follow_from_the_seed(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    questions = ask(loaded, ["ark", "atom"], "Say", "Say ark: 70%")
    first = answers(loaded, questions, 50, seed=1)
    torch.rand(1)
    assert answers(loaded, questions, 50, seed=1) == first
    assert answers(loaded, questions, 50, seed=2) != first


def test_answers_do_not_depend_on_other_prompts(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    questions = ask(
        loaded, ["ark", "atom"], "Say", "Say ark: 70%", "", "A longer question, for the sake of its length."
    )
    together = answers(loaded, questions, 200)
    assert answers(loaded, questions[::-1], 200) == together[::-1]
    assert [answers(loaded, [question], 200)[0] for question in questions] == together


def test_prompts_of_one_distribution_are_given_draws_of_their_own(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.5, "kan": 0.5}})
    first, second = answers(loaded, ask(loaded, ["ark", "kan"], "or", "as"), 400)
    same = sum(one == other for one, other in zip(first, second, strict=True))
    assert binomtest(same, 400, 0.5).pvalue > 0.001


@pytest.mark.parametrize("tokens", [1, 60, 4096])
def test_answers_do_not_depend_on_how_they_are_cut_into_passes(tokens: int, tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    questions = ask(loaded, ["ark", "atom", "a", "arkansas"], "Say", "Say ark: 70%")
    rows: list[int] = []
    hook = loaded.model.register_forward_hook(lambda *call: rows.append(len(call[2].logits)))
    found = answers(loaded, questions, 300, tokens_per_pass=tokens)
    hook.remove()
    assert max(rows) == 1 if tokens == 1 else max(rows) > 1
    assert found == answers(loaded, questions, 300)


def test_answers_that_have_begun_alike_are_computed_once(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.5, "kan": 0.5}})
    rows: list[int] = []
    hook = loaded.model.register_forward_hook(lambda *call: rows.append(len(call[2].logits)))
    answers(loaded, ask(loaded, ["ark", "kan"], "or"), 1000)
    hook.remove()
    assert rows == [1, 1, 2]


def test_passes_that_do_not_fit_are_cut_in_two(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    questions = ask(loaded, ["ark", "atom", "a", "arkansas"], "Say")
    expected = answers(loaded, questions, 300)
    refused: list[int] = []

    def short_of_memory(_: Any, __: Any, options: dict[str, Any]) -> None:
        if len(options["input_ids"]) > 2:
            refused.append(len(options["input_ids"]))
            raise torch.OutOfMemoryError

    hook = loaded.model.register_forward_pre_hook(short_of_memory, with_kwargs=True)
    found = answers(loaded, questions, 300)
    hook.remove()
    assert found == expected
    assert refused


def test_a_prompt_of_a_single_token(bigram_model: BigramModel) -> None:
    loaded = bigram_model({"a": {"ark": 1.0}})
    a, ark, end = loaded.tokenizer.convert_tokens_to_ids(["a", "ark", "<|end|>"])
    assert answers(loaded, [WordQuestion((a,), [[(ark,)]])], 3) == [[(ark, end)] * 3]


def test_answers_with_an_adapter_agree_with_its_probabilities(tiny_model_dir: Callable[..., Path]) -> None:
    torch.manual_seed(1)
    base = load_model(tiny_model_dir("llama", initializer_range=0.1), "float32", chat=True)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    model: Any = peft.get_peft_model(base.model, config)
    compute_in_input_type(model)
    choose_engine(model)
    loaded = LoadedModel(model.eval(), base.tokenizer, chat=True, weights_hash="", description={})
    questions = ask(loaded, ["ark", "atom", "a", "k"], "Say", "Say ark: 70%")
    assert min(p_values(loaded, questions, 4000, continuations(loaded))) > 0.01
    adapted = answers(loaded, questions, 500)
    with model.disable_adapter():
        assert answers(loaded, questions, 500) != adapted
