"""Word probabilities against a plain loop, against all short answers of a small model, and against values by hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from plain_inference import all_answers, plain_log_probability, plain_logits
from transformers import PreTrainedTokenizerFast

from outctl.inference.branches import next_token_logits
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import Prompt, build_prompts, encode
from outctl.inference.token_tree import TokenTree
from outctl.inference.tree_forward import CachedTree
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import (
    WordQuestion,
    answer_questions,
    lay_out,
    logits_below,
    shared_prefix,
    split_by_size,
    word_log_probabilities,
    word_questions,
)
from outctl.metrics.divergences import other_mass
from outctl.models.loading import LoadedModel, load_model
from outctl.tasks.samples import Message

TinyModel = Callable[..., LoadedModel]
BigramModel = Callable[..., LoadedModel]
START = "<|assistant|>"
TREES = ("llama", "qwen2", "mistral", "gpt2")
ROWS = ("gemma2", "gpt_oss", "bloom", "mamba", "qwen3_5_text", "jamba")


def ask(loaded: LoadedModel, *contents: str) -> list[Prompt]:
    conversations = [[Message(role="user", content=content)] for content in contents]
    return build_prompts(loaded.tokenizer, conversations, chat=True)


def measure(loaded: LoadedModel, questions: Sequence[WordQuestion], tokens_per_pass: int = 1024) -> list[list[float]]:
    answers = answer_questions(loaded.model, loaded.tokenizer, questions, tokens_per_pass)
    return [answer.log_probabilities for answer in answers]


def probabilities(loaded: LoadedModel, prompt: Prompt, *words: str) -> list[float]:
    (row,) = measure(loaded, word_questions(loaded.tokenizer, [prompt], [words]))
    return [math.exp(value) for value in row]


WORDS = ["ark", "arkansas", "atom", "come", "kan", "it", "noah", "ark atom", "noah it"]


@pytest.mark.parametrize("architecture", [*TREES, *ROWS])
def test_equals_a_plain_loop(architecture: str, tiny_model: TinyModel) -> None:
    loaded = tiny_model(architecture)
    prompts = ask(loaded, "Say", "Say ark: 70% or so", "")
    found = measure(loaded, word_questions(loaded.tokenizer, prompts, [WORDS] * 3))
    with torch.no_grad():
        expected = [
            [plain_log_probability(loaded.model, loaded.tokenizer, prompt, word).item() for word in WORDS]
            for prompt in prompts
        ]
    for row, expected_row in zip(found, expected, strict=True):
        # A recurrence over the whole prompt sums up more rounding.
        assert row == pytest.approx(expected_row, abs=2e-5 if architecture in TREES else 1e-4)
        assert list(map(math.exp, row)) == pytest.approx(list(map(math.exp, expected_row)), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_equals_a_plain_loop_at_a_temperature(temperature: float, tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = ask(loaded, "Say", "Say ark: 70%")
    questions = word_questions(tokenizer, prompts, [WORDS, WORDS[:2]])
    answers = answer_questions(model, tokenizer, questions, 1024, top=5, temperature=temperature)
    for prompt, question, answer in zip(prompts, questions, answers, strict=True):
        own = WORDS[: len(question.forms)]
        with torch.no_grad():
            expected = [plain_log_probability(model, tokenizer, prompt, word, temperature).item() for word in own]
            first = (plain_logits(model, list(prompt.tokens))[-1] / temperature).softmax(-1).topk(5)
        assert answer.log_probabilities == pytest.approx(expected, abs=1e-4)
        assert [token for token, _ in answer.top_tokens] == first.indices.tolist()
        assert [value for _, value in answer.top_tokens] == pytest.approx(first.values.tolist(), abs=1e-5)


def test_temperature_1_asks_the_model_as_it_is_to_the_bit(
    tiny_model: TinyModel, mixed_questions: list[WordQuestion]
) -> None:
    loaded = tiny_model()
    beginning = CachedTree(loaded.model, shared_prefix([question.prompt for question in mixed_questions]))
    layout, logits = logits_below(beginning, mixed_questions)
    rows = word_log_probabilities(logits, layout, word_continuations(loaded.tokenizer, logits.shape[-1])).tolist()
    found = measure(loaded, mixed_questions, 4096)
    assert found == [row[: len(own)] for row, own in zip(rows, found, strict=True)]


def test_equals_a_plain_loop_on_the_embedded_model(real_model: LoadedModel) -> None:
    tokenizer = real_model.tokenizer
    prompts = ask(real_model, "Say one word: 70% ark, 30% atom", "Say one word: 20% opinion, 80% arkansas")
    words = [["ark", "atom"], ["opinion", "arkansas"]]
    found = measure(real_model, word_questions(tokenizer, prompts, words))
    for prompt, own, row in zip(prompts, words, found, strict=True):
        with torch.no_grad():
            expected = [plain_log_probability(real_model.model, tokenizer, prompt, word).item() for word in own]
        assert row == pytest.approx(expected, abs=2e-4)
        assert [math.exp(value) for value in row] == pytest.approx([math.exp(value) for value in expected], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.06), ("nf4", 0.05)])
def test_narrow_types_round_no_more_than_they_do_in_plain_passes(
    precision: Any, tolerance: float, real_model_dir: Path
) -> None:
    """First tokens behind prompts that share most of their text: the distance to a plain pass in the same type.

    Passes of another shape round otherwise: two plain ones, with padding and without, are as far from each other.
    """
    loaded = load_model(real_model_dir, precision, chat=True)
    choose_engine(loaded.model)
    shared = "Answer with one word, drawn as it is said: lantern 80%, cactus 20%. Then the next one. " * 3
    prompts = ask(loaded, *(f"{shared}Say one word: {share}% ark, {100 - share}% atom" for share in (20, 70)))
    size = loaded.model.get_input_embeddings().weight.shape[0]
    questions = word_questions(loaded.tokenizer, prompts, [["ark", "atom"]] * len(prompts))
    answers = list(answer_questions(loaded.model, loaded.tokenizer, questions, top=size))
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.inference_mode():
            expected = plain_logits(loaded.model, list(prompt.tokens))[-1].double().softmax(-1)
            padded = loaded.model(
                input_ids=torch.tensor([[0] * 9 + list(prompt.tokens)]),
                attention_mask=torch.tensor([[0] * 9 + [1] * len(prompt.tokens)]),
                logits_to_keep=1,
            ).logits[0, -1]
        found = torch.zeros_like(expected)
        for token, probability in answer.top_tokens:
            found[token] = probability
        distance = 0.5 * (found - expected).abs().sum().item()
        between_plain = 0.5 * (padded.double().softmax(-1) - expected).abs().sum().item()
        assert distance < min(tolerance, 3 * between_plain)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_mass_of_all_answers_that_are_the_word(seed: int, pocket_model: Callable[..., LoadedModel]) -> None:
    """Every answer whose first word has up to three tokens is read: which word is it, and in its own tokenisation?"""
    words = ["ark", "arkansas", "arks", "arkan", "at", "an", "as", "a", "am"]
    loaded = pocket_model(seed)
    (prompt,) = ask(loaded, "or")
    answers = all_answers(loaded, prompt, length=3)
    assert sum(answers.masses.values()) + answers.unfinished == pytest.approx(1.0, abs=1e-9)
    expected = dict.fromkeys(words, 0.0)
    elsewhere = answers.unfinished
    for tokens, mass in answers.masses.items():
        text = answers.text(tokens)
        word = next((word for word in words if text.removeprefix(" ") in (word, word.capitalize())), None)
        if word and encode(loaded.tokenizer, [prompt.text + text]) == [[*prompt.tokens, *tokens]]:
            expected[word] += mass
        else:
            elsewhere += mass
    found = probabilities(loaded, prompt, *words)
    assert found == pytest.approx(list(expected.values()), rel=1e-4, abs=1e-9)
    assert other_mass(torch.tensor(found).log()).item() == pytest.approx(elsewhere, abs=1e-6)


def test_ark_collects_nothing_of_arkansas(bigram_model: BigramModel) -> None:
    loaded = bigram_model(
        {START: {"ark": 0.5, " ark": 0.3, "atom": 0.2}, "ark": {"ansas": 0.8}, " ark": {"ansas": 1.0}}
    )
    (prompt,) = ask(loaded, "or")
    assert probabilities(loaded, prompt, "ark", "arkansas") == pytest.approx([0.1, 0.7], abs=1e-6)
    assert probabilities(loaded, prompt, "ark", "atom") == pytest.approx([0.1, 0.2], abs=1e-6)


@pytest.mark.parametrize(
    ("token", "ends"),
    [(".", True), (" ", True), ("'", True), ("<|user|>", True), ("'s", False), ("a", False), ("Ark", False)],
)
def test_a_word_ends_at_signs_and_goes_on_with_letters(token: str, ends: bool, bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.8}, "ark": {token: 0.75}})
    (prompt,) = ask(loaded, "or")
    assert probabilities(loaded, prompt, "ark") == pytest.approx([0.8 if ends else 0.2], abs=1e-6)


def test_forms_of_one_and_of_several_tokens_are_summed(bigram_model: BigramModel) -> None:
    """*ark*: 0.1; *Ark*: 0.2; " ark": 0.1; " Ark", two tokens: 0.4 times a half."""
    table = {START: {"ark": 0.1, "Ark": 0.2, " ark": 0.1, " ": 0.4}, " ": {"Ark": 0.5, "at": 0.5}}
    loaded = bigram_model(table)
    (prompt,) = ask(loaded, "or")
    assert probabilities(loaded, prompt, "ark", "at", "kan") == pytest.approx([0.6, 0.2, 0.0], abs=1e-6)


def test_two_successive_words_are_the_one_behind_the_other_to_the_end_of_the_second(bigram_model: BigramModel) -> None:
    """*ark ark*: 0.6 times 0.5; *ark atom*, three tokens: 0.6 times 0.3, and half of it goes on to *atoms*."""
    table = {
        START: {"ark": 0.6, "atom": 0.4},
        "ark": {" ark": 0.5, " ": 0.3},
        " ": {"atom": 1.0},
        "atom": {" ark": 0.25, "s": 0.5},
    }
    loaded = bigram_model(table)
    (prompt,) = ask(loaded, "or")
    found = probabilities(loaded, prompt, "ark ark", "ark atom", "atom ark", "atom atom")
    assert found == pytest.approx([0.3, 0.09, 0.1, 0.0], abs=1e-6)


def test_a_word_of_no_probability_has_a_finite_logarithm(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 1.0}, "ark": {"ansas": 1.0}})
    (prompt,) = ask(loaded, "or")
    ((ark, kan),) = measure(loaded, word_questions(loaded.tokenizer, [prompt], [["ark", "kan"]]))
    assert -200 < ark < -50
    assert -200 < kan < -50


@pytest.fixture(scope="module")
def mixed_questions(tiny_model: TinyModel) -> list[WordQuestion]:
    """Questions with none to three words; some prompts begin others, or go on with the words asked about."""
    loaded = tiny_model()
    prompts = ask(
        loaded, "Say", "Say ark: 70%", "Say ark: 70% atom", "A long question, to be cut alone. " * 3, "Say", ""
    )
    words = [["ark", "atom"], ["arkansas"], [], ["come", "ark", "it"], ["kan", "arkansas"], ["noah"]]
    questions = word_questions(loaded.tokenizer, prompts, words)
    (ark,) = loaded.tokenizer("ark", add_special_tokens=False)["input_ids"]
    return [*questions, WordQuestion((*prompts[0].tokens, ark), questions[1].forms)]


@pytest.fixture(scope="module")
def one_by_one(tiny_model: TinyModel, mixed_questions: list[WordQuestion]) -> list[list[float]]:
    return [measure(tiny_model(), [question])[0] for question in mixed_questions]


@pytest.mark.parametrize("tokens_per_pass", [1, 16, 50, 120, 4096])
def test_answers_do_not_depend_on_how_they_are_cut_into_passes(
    tokens_per_pass: int,
    tiny_model: TinyModel,
    mixed_questions: list[WordQuestion],
    one_by_one: list[list[float]],
) -> None:
    assert [len(row) for row in one_by_one] == [2, 1, 0, 3, 2, 1, 1]
    found = measure(tiny_model(), mixed_questions, tokens_per_pass)
    for row, expected in zip(found, one_by_one, strict=True):
        assert row == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_answers_do_not_depend_on_the_order_of_samples(
    seed: int, tiny_model: TinyModel, mixed_questions: list[WordQuestion], one_by_one: list[list[float]]
) -> None:
    order = list(range(len(mixed_questions)))
    Random(seed).shuffle(order)
    found = measure(tiny_model(), [mixed_questions[number] for number in order], 80)
    for number, row in zip(order, found, strict=True):
        assert row == pytest.approx(one_by_one[number], abs=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_answers_do_not_depend_on_the_padding_side(
    side: str, tiny_model: TinyModel, make_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    loaded = tiny_model()
    contents, words = ["Say ark: 70% atom", "Say", ""], [["ark", "arkansas"], ["atom", "ark"], ["kan", "noah"]]
    alone = [probabilities(loaded, *ask(loaded, content), *own) for content, own in zip(contents, words, strict=True)]
    padding = replace(loaded, tokenizer=make_tokenizer())
    padding.tokenizer.padding_side = side
    padding.tokenizer.pad_token = "<|endoftext|>"
    found = measure(padding, word_questions(padding.tokenizer, ask(padding, *contents), words))
    for row, expected in zip(found, alone, strict=True):
        assert [math.exp(value) for value in row] == pytest.approx(expected, abs=1e-6)


def test_likeliest_first_tokens(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    prompts = ask(loaded, "Say", "Say ark: 70%")
    questions = word_questions(loaded.tokenizer, prompts, [["ark"], []])
    answers = list(answer_questions(loaded.model, loaded.tokenizer, questions, 1024, top=5))
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            values, ids = plain_logits(loaded.model, list(prompt.tokens))[-1].softmax(-1).topk(5)
        assert [token for token, _ in answer.top_tokens] == ids.tolist()
        assert [probability for _, probability in answer.top_tokens] == pytest.approx(values.tolist(), abs=1e-6)
    assert [answer.top_tokens for answer in answer_questions(loaded.model, loaded.tokenizer, questions, 1024)] == [
        [],
        [],
    ]


def test_logits_are_computed_where_they_are_needed_and_nowhere_else(tiny_model: TinyModel) -> None:
    """Behind the prompt; behind ark, " ark", Ark, " ", " Ark"; behind atom, " atom", A, At, Atom, " A", " At", " Atom"."""
    loaded = tiny_model()
    prompts = ask(loaded, "Say", "Say ark: 70%")
    shapes: list[tuple[int, ...]] = []
    hook = loaded.model.register_forward_hook(lambda *call: shapes.append(tuple(call[2].logits.shape)))
    measure(loaded, word_questions(loaded.tokenizer, prompts, [["ark", "atom"], ["ark"]]))
    hook.remove()
    # What the prompts begin with goes first, and needs none.
    assert shapes == [(1, 0, len(loaded.tokenizer)), (1, (1 + 5 + 8) + (1 + 5), len(loaded.tokenizer))]


@pytest.mark.parametrize("tokens", [1, 40, 90, 4096])
def test_passes_keep_to_the_size_asked_for(tokens: int, mixed_questions: list[WordQuestion]) -> None:
    runs = [list(run) for run in split_by_size(mixed_questions, tokens, TokenTree())]
    assert [question for run in runs for question in run] == mixed_questions
    for run, following in zip(runs, [*runs[1:], []], strict=True):
        assert run
        assert len(run) == 1 or tree_size(run) <= tokens
        assert not following or tree_size([*run, following[0]]) > tokens
    assert list(split_by_size([], tokens, TokenTree())) == []


def tree_size(questions: Sequence[WordQuestion]) -> int:
    tree = TokenTree()
    for question in questions:
        for sequence in [question.prompt, *(question.prompt + form for forms in question.forms for form in forms)]:
            tree.insert(sequence)
    return len(tree)


@pytest.mark.parametrize("architecture", [*TREES, *ROWS])
def test_gradient_equals_that_of_a_plain_loop(architecture: str, tiny_model: TinyModel) -> None:
    loaded = tiny_model(architecture)
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts, words = ask(loaded, "Say", "Say ark: 70%"), [["ark", "arkansas", "come"], ["atom"]]
    weights = torch.tensor([[0.5, 0.2, 0.3], [1.0, 0.0, 0.0]])
    tree = TokenTree()
    # Behind a question of first tokens, whose values are left out.
    (first,) = word_questions(tokenizer, prompts[1:], [["ark", "atom"]], "spaced")
    layout = lay_out([first.first_tokens(), *word_questions(tokenizer, prompts, words)], tree)
    logits = next_token_logits(model, tree, layout.nodes.tolist())
    log_p = word_log_probabilities(logits, layout, word_continuations(tokenizer, logits.shape[-1]))[1:]
    assert torch.isneginf(log_p[1, 1:]).all()
    loss = (weights * log_p.masked_fill(log_p.isneginf(), 0.0)).sum()
    plain = sum(
        weights[row, column] * plain_log_probability(model, tokenizer, prompts[row], word)
        for row, own in enumerate(words)
        for column, word in enumerate(own)
    )
    names, parameters = zip(*model.named_parameters(), strict=True)
    # No token may have come to one of the experts.
    found = torch.autograd.grad(loss, parameters, materialize_grads=True)
    expected = torch.autograd.grad(plain, parameters, materialize_grads=True)
    for name, one, other in zip(names, found, expected, strict=True):
        atol = 2e-5 * max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, atol=atol, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")
    assert sum(bool(gradient.abs().max() > 1e-4) for gradient in expected if gradient.ndim > 1) > 8


def test_by_first_tokens_a_question_costs_its_prompt_alone(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = ask(loaded, "Say", "Say ark: 70%")
    (whole,) = word_questions(tokenizer, prompts[:1], [["arkansas", "come"]])
    (other,) = word_questions(tokenizer, prompts[1:], [["arkansas", "atom"]], "spaced")
    assert [len(forms[0]) for forms in other.forms] == [2, 2]
    (row,) = measure(loaded, [other.first_tokens()])
    with torch.no_grad():
        first = plain_logits(model, list(prompts[1].tokens))[-1].softmax(-1)
    expected = [first[forms[0][0]].item() for forms in other.forms]
    assert [math.exp(value) for value in row] == pytest.approx(expected, abs=1e-6)
    # No word has more than what begins like it.
    assert all(less <= more for less, more in zip(measure(loaded, [other])[0], row, strict=True))
    tree = TokenTree()
    layout = lay_out([other.first_tokens()], tree)
    assert (len(tree), len(layout.nodes)) == (len(prompts[1].tokens), 1)
    # Whole words in front of first tokens, behind them and between them get what they get alone.
    (alone,) = measure(loaded, [whole])
    rows = measure(loaded, [other.first_tokens(), whole, other.first_tokens(), other])
    assert rows == [pytest.approx(own, abs=2e-5) for own in (row, alone, row, measure(loaded, [other])[0])]


def test_forms_of_a_word_that_begin_alike_count_once() -> None:
    question = WordQuestion((1,), [[(5, 6), (5, 7), (8,)], [(9, 5)]])
    assert question.first_tokens() == WordQuestion((1,), [[(5,), (8,)], [(9,)]], whole=False)


def test_words_that_begin_alike_are_read_to_their_end(real_model: LoadedModel) -> None:
    (prompt,) = ask(real_model, "Say")
    alike, apart = word_questions(
        real_model.tokenizer, [prompt, prompt], [["overgrown", "overgrazed"], ["overgrown", "atom"]], "spaced"
    )
    assert alike.forms[0][0][0] == alike.forms[1][0][0]
    assert alike.first_tokens() == alike
    assert apart.first_tokens().forms == [[forms[0][:1]] for forms in apart.forms]


def small_batch(loaded: LoadedModel, words: Sequence[Sequence[str]]) -> Any:
    prompts = ask(loaded, *("Say" for _ in words))
    return lay_out(word_questions(loaded.tokenizer, prompts, words), TokenTree())


def test_padding_and_impossible_words_pass_no_nan_gradient(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    batch = small_batch(loaded, [["ark", "arkansas"], ["atom"], []])
    size = len(loaded.tokenizer)
    logits = torch.randn(len(batch.nodes), size, generator=torch.Generator().manual_seed(0))
    continuing = word_continuations(loaded.tokenizer, size)
    # Behind the first rows no word can end, and every other token is out of reach.
    logits[:4] = torch.where(continuing, 0.0, -1e4)
    logits.requires_grad_()
    log_p = word_log_probabilities(logits, batch, continuing)
    assert log_p.shape == (3, 2)
    assert log_p.isneginf().tolist() == [[False, False], [False, True], [True, True]]
    log_p.masked_fill(log_p.isneginf(), 0.0).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


def test_sums_over_the_vocabulary_keep_their_precision_under_autocast(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    batch = small_batch(loaded, [["ark", "arkansas"]])
    size = 5000
    logits = torch.randn(len(batch.nodes), size, generator=torch.Generator().manual_seed(0))
    continuing = word_continuations(loaded.tokenizer, size)
    with torch.autocast("cpu", torch.bfloat16):
        found = word_log_probabilities(logits, batch, continuing)
    torch.testing.assert_close(found, word_log_probabilities(logits, batch, continuing), atol=1e-6, rtol=0)


def test_logits_of_any_height_give_the_same_words(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    batch = small_batch(loaded, [["ark", "arkansas"]])
    logits = torch.randn(len(batch.nodes), len(loaded.tokenizer), generator=torch.Generator().manual_seed(0))
    continuing = word_continuations(loaded.tokenizer, len(loaded.tokenizer))
    shift = torch.linspace(-900, 900, len(logits))[:, None].round()
    found = word_log_probabilities(logits + shift, batch, continuing)
    torch.testing.assert_close(found, word_log_probabilities(logits, batch, continuing), atol=1e-3, rtol=0)
