"""The model's own words: against written-down probabilities, all short answers of a small model, and the real one."""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from plain_inference import all_answers, plain_log_probability
from tokenizers import Tokenizer

from outctl.config.models import EngineChoice
from outctl.inference import own_words as own_words_module
from outctl.inference.engine_check import prepare
from outctl.inference.own_words import answer_freely, fold, own_words
from outctl.inference.prompts import Prompt, build_prompts, plain_prompts
from outctl.inference.word_forms import token_texts
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message

BigramModel = Callable[..., LoadedModel]
START = "<|assistant|>"


def ask(loaded: LoadedModel, *contents: str) -> list[Prompt]:
    conversations = [[Message(role="user", content=content)] for content in contents]
    return build_prompts(loaded.tokenizer, conversations, chat=True)


def words_of(loaded: LoadedModel, content: str = "or", **options: Any) -> list[str]:
    (prompt,) = ask(loaded, content)
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], tokens_per_pass=1024, **options)
    return found.words


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ("ark", "ark"),
        (" ark", "ark"),
        ("Ark", "ark"),
        (" Ark", "ark"),
        ("NASA", "NASA"),
        ("McArk", "McArk"),
        ("I", "i"),
    ],
)
def test_fold(form: str, word: str) -> None:
    assert fold(form) == word


def test_forms_of_a_word_are_counted_together(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 0.15, "Ark": 0.15, " ark": 0.15, "kan": 0.4, "at": 0.15}})
    assert words_of(loaded) == ["ark", "kan"]
    assert words_of(loaded, count=3) == ["ark", "kan", "at"]
    assert words_of(loaded, count=1) == ["ark"]


def test_a_beginning_is_not_the_word_where_it_goes_on(bigram_model: BigramModel) -> None:
    table = {START: {"ark": 0.6, "kan": 0.3, "om": 0.1}, "ark": {"ansas": 0.9}}
    assert words_of(bigram_model(table)) == ["arkansas", "kan"]
    assert words_of(bigram_model({**table, "ark": {"ansas": 0.4}})) == ["ark", "kan"]
    assert words_of(bigram_model({**table, "ark": {"'s": 0.9}})) == ["ark's", "kan"]


def test_a_word_of_several_tokens_is_found_behind_likelier_beginnings(bigram_model: BigramModel) -> None:
    """*atom*, likeliest first token of all, leads to many words of which none is likely."""
    many = dict.fromkeys(["a", "k", "m", "n", "o", "r", "s", "t"], 0.125)
    loaded = bigram_model(
        {START: {"atom": 0.6, "o": 0.25, "kan": 0.15}, "atom": many, "o": {"rk": 1.0}, "rk": {"s": 1.0}}
    )
    assert words_of(loaded) == ["orks", "kan"]


def test_a_letter_may_stand_in_two_tokens(bigram_model: BigramModel) -> None:
    """*k* and *m* are made the two bytes of é: *at* is no word where é follows, and nothing ends between the two."""
    loaded = bigram_model({START: {"at": 0.7, "k": 0.2, "s": 0.1}, "at": {"k": 0.8}, "k": {"m": 0.9}})
    content = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    bytes_of_é = {"k": "Ã", "m": "©"}
    content["model"]["vocab"] = {bytes_of_é.get(piece, piece): n for piece, n in content["model"]["vocab"].items()}
    content["model"]["merges"] = [["a", "t"]]
    tokenizer = copy(loaded.tokenizer)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    loaded = replace(loaded, tokenizer=tokenizer)
    assert words_of(loaded, count=3) == ["até", "é", "at"]
    (prompt,) = ask(loaded, "or")
    (found,) = own_words(loaded.model, tokenizer, [prompt], tokens_per_pass=1024, count=3)
    assert found.unresolved == pytest.approx((0.7 * 0.8 + 0.2) * 0.1, rel=1e-4)


@pytest.mark.parametrize("sign", [".", "'", "'s", "<|end|>", "<|user|>"])
def test_signs_and_markers_are_no_words(sign: str, bigram_model: BigramModel) -> None:
    assert words_of(bigram_model({START: {sign: 0.9, "ark": 0.06, "kan": 0.04}, sign: {"om": 1.0}})) == ["ark", "kan"]


def test_what_was_not_followed_to_its_end_is_reported(bigram_model: BigramModel) -> None:
    """Each pass makes the only word one token longer; it ends there with probability 0.1."""
    loaded = bigram_model({START: {"m": 1.0}, "m": {"m": 0.9}})
    (prompt,) = ask(loaded, "or")
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], tokens_per_pass=1024, rounds=7)
    assert found.words == ["m", "mm"]
    assert found.unresolved == pytest.approx(0.9**6, rel=1e-5)
    assert not found.complete
    # Behind 23 of them there is less than *mm* has, which is 0.09.
    for rounds in (23, 24):
        (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], tokens_per_pass=1024, rounds=rounds)
        assert found.complete == (rounds == 24)


def scored_answers(loaded: LoadedModel, prompt: Prompt, least: float) -> tuple[dict[str, float], float]:
    """What each word has by the measure that scores it, from all answers longer than `least`, and the mass of all others."""
    answers = all_answers(loaded, prompt, length=8, least=least)
    texts = {answers.text(tokens) for tokens in answers.masses}
    words = {fold(text) for text in texts if text.removeprefix(" ")[:1].isalpha()}
    scored = {}
    for word in words:
        forms = {space + form for form in (word, word[0].upper() + word[1:]) for space in ("", " ")}
        split = {tuple(ids) for ids in loaded.tokenizer(sorted(forms), add_special_tokens=False)["input_ids"]}
        scored[word] = sum(answers.masses.get(tokens, 0.0) for tokens in split)
    return scored, answers.unfinished


@pytest.mark.parametrize("engine", ["tree", "rows"])
@pytest.mark.parametrize(("seed", "spread"), [(3, 0.6), (5, 0.6), (0, 1.0), (4, 1.0), (5, 1.0), (12, 1.0)])
def test_likeliest_of_all_words(
    seed: int, spread: float, engine: EngineChoice, pocket_model: Callable[..., LoadedModel]
) -> None:
    loaded = pocket_model(seed, initializer_range=spread)
    if engine == "rows":
        prepare(loaded, "rows")
    (prompt,) = ask(loaded, "or")
    scored, left = scored_answers(loaded, prompt, least=1e-5)
    first, second, third = sorted(scored, key=lambda word: -scored[word])[:3]
    # What was left out cannot change which words they are.
    assert scored[second] - scored[third] > left
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], tokens_per_pass=1024)
    assert found.complete
    assert found.words == [first, second]


def test_a_search_that_cannot_be_proven_in_time_is_given_up_and_says_so(
    bigram_model: BigramModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every letter leads to every letter: of eight times as many words in each pass none is likelier than another."""
    even = dict.fromkeys("akmnorst", 0.12)
    loaded = bigram_model({START: even, **dict.fromkeys("akmnorst", even)})
    passes = []
    extend = own_words_module._extend
    monkeypatch.setattr(own_words_module, "_extend", lambda *given: passes.append(extend(*given)))
    (prompt,) = ask(loaded, "or")
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], rounds=9)
    assert not found.complete
    assert len(passes) < 9


def test_a_word_that_most_tokens_spell_otherwise_is_not_ranked_by_them(bigram_model: BigramModel) -> None:
    """The tokenizer writes *ark* in one token, and *kan*, which has a third of its mass, too."""
    loaded = bigram_model({START: {"a": 0.6, "kan": 0.2, "atom": 0.15, "ark": 0.05}, "a": {"rk": 1.0}})
    assert words_of(loaded) == ["kan", "atom"]


@pytest.mark.parametrize("tokens_per_pass", [16, 60, 4096])
def test_prompts_do_not_influence_each_other(tokens_per_pass: int, pocket_model: Callable[..., LoadedModel]) -> None:
    loaded = pocket_model(5, initializer_range=0.6)
    prompts = ask(loaded, "or", "ark", "ark as", "to mark a kansas", "m")
    together = own_words(loaded.model, loaded.tokenizer, prompts, tokens_per_pass)
    backwards = own_words(loaded.model, loaded.tokenizer, prompts[::-1], tokens_per_pass)[::-1]
    alone = [own_words(loaded.model, loaded.tokenizer, [prompt], 4096)[0] for prompt in prompts]
    assert len({tuple(found.words) for found in alone}) > 1
    for found in (together, backwards):
        assert [own.words for own in found] == [own.words for own in alone]
        assert [own.unresolved for own in found] == pytest.approx([own.unresolved for own in alone], abs=1e-5)


def test_a_prompt_that_another_one_goes_on_with_keeps_its_words(pocket_model: Callable[..., LoadedModel]) -> None:
    loaded = pocket_model(5, initializer_range=0.6)
    (prompt,) = ask(loaded, "or")
    longer = replace(prompt, tokens=prompt.tokens + prompt.tokens[-3:])
    prompts = [prompt, longer, prompt, replace(prompt, tokens=longer.tokens[:-1]), longer]
    together = own_words(loaded.model, loaded.tokenizer, prompts)
    for asked, found in zip(prompts, together, strict=True):
        (alone,) = own_words(loaded.model, loaded.tokenizer, [asked])
        assert found.words == alone.words
        assert found.unresolved == pytest.approx(alone.unresolved, abs=1e-5)


@pytest.mark.parametrize("tokens_per_pass", [16, 4096])
def test_words_and_their_exact_probabilities_in_one_go(
    tokens_per_pass: int, pocket_model: Callable[..., LoadedModel]
) -> None:
    loaded = pocket_model(5, initializer_range=0.6)
    prompts = ask(loaded, "or", "ark", "ark as", "to mark a kansas", "m")
    found = list(answer_freely(loaded.model, loaded.tokenizer, prompts, tokens_per_pass, top=3))
    words = own_words(loaded.model, loaded.tokenizer, prompts)
    assert [own.words for own, _ in found] == [own.words for own in words]
    questions = word_questions(loaded.tokenizer, prompts, [own.words for own in words])
    expected = answer_questions(loaded.model, loaded.tokenizer, questions, top=3)
    for (_, answer), other in zip(found, expected, strict=True):
        assert answer.log_probabilities == pytest.approx(other.log_probabilities, abs=2e-5)
        assert [token for token, _ in answer.top_tokens] == [token for token, _ in other.top_tokens]


@pytest.mark.parametrize(("temperature", "words"), [(0.25, ["kan", "ark"]), (1.0, ["ark", "kan"])])
def test_the_search_is_at_the_temperature_that_the_words_are_measured_at(
    temperature: float, words: list[str], bigram_model: BigramModel
) -> None:
    """Three forms of *ark* are likelier than the one of *kan*, but each is less likely."""
    loaded = bigram_model({START: {"kan": 0.4, "ark": 0.2, "Ark": 0.2, " ark": 0.2}})
    (prompt,) = ask(loaded, "or")
    ((own, answer),) = answer_freely(loaded.model, loaded.tokenizer, [prompt], temperature=temperature)
    assert own.words == words
    expected = [plain_log_probability(loaded.model, loaded.tokenizer, prompt, word, temperature) for word in words]
    assert answer.log_probabilities == pytest.approx([value.item() for value in expected], abs=1e-4)


@pytest.mark.slow
def test_no_other_word_of_the_embedded_model_is_likelier(real_model: LoadedModel) -> None:
    """Every word that is one of the 50 likeliest first tokens is measured against the two that were found."""
    tokenizer, model = real_model.tokenizer, real_model.model
    content = "Seed 7: let it lead you to two rare English words. Say one word: 70% the first, 30% the second."
    (prompt,) = ask(real_model, content)
    (found,) = own_words(model, tokenizer, [prompt], tokens_per_pass=1024)
    bare = word_questions(tokenizer, [prompt], [[]])
    (first,) = answer_questions(model, tokenizer, bare, tokens_per_pass=1024, top=50)
    texts = token_texts(tokenizer, model.get_input_embeddings().weight.shape[0])
    others = {fold(texts[token]) for token, _ in first.top_tokens if texts[token].strip().isalpha()} - set(found.words)
    assert len(others) > 20
    questions = word_questions(tokenizer, [prompt], [[*found.words, *sorted(others)]])
    (answer,) = answer_questions(model, tokenizer, questions, tokens_per_pass=1024)
    one, two, *rest = answer.log_probabilities
    assert min(one, two) >= max(rest)


def test_a_space_that_is_a_token_of_its_own_begins_a_word(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {" ": 0.5, "kan": 0.3, "om": 0.2}, " ": {"atom": 1.0}})
    assert words_of(loaded) == ["atom", "kan"]


def test_a_word_just_below_the_second_may_still_overtake_it(bigram_model: BigramModel) -> None:
    """*ark* has 0.09 and, as the ninth likeliest first token, " ark" with another 0.02; *atom* has 0.10."""
    others = dict.fromkeys(["at", "om", "an", "as", "a"], 0.03)
    loaded = bigram_model({START: {"kan": 0.2, "atom": 0.1, "ark": 0.09, " ark": 0.02, **others}})
    assert words_of(loaded) == ["kan", "ark"]


def test_all_that_was_not_followed_is_reported(tiny_model: Callable[..., LoadedModel]) -> None:
    loaded = tiny_model(initializer_range=0.01)
    (prompt,) = ask(loaded, "Say")
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], tokens_per_pass=4096)
    # Nearly even over 96 tokens, of which 77 begin a word.
    assert found.unresolved > 0.5


def test_own_words_can_be_measured_side_by_side(bigram_model: BigramModel) -> None:
    table = {START: {"a": 0.4, "A": 0.35, "kan": 0.25}, "a": {"Ark": 1.0}, "A": {"Ark": 1.0}}
    loaded = bigram_model(table)
    words = words_of(loaded)
    (question,) = word_questions(loaded.tokenizer, ask(loaded, "or"), [words])
    assert len(question.forms) == 2


def next_words(loaded: LoadedModel, text: str, running: bool = True) -> list[str]:
    (prompt,) = plain_prompts(loaded.tokenizer, [text])
    (found,) = own_words(loaded.model, loaded.tokenizer, [prompt], running=running)
    return found.words


def test_in_running_text_a_token_without_a_space_goes_on_with_the_last_word(bigram_model: BigramModel) -> None:
    """Behind "kan", *ansas* would make it "kanansas"."""
    loaded = bigram_model({"kan": {"ansas": 0.5, " ark": 0.3, " ": 0.2}, " ": {"om": 1.0}})
    assert next_words(loaded, "kan") == ["ark", "om"]
    assert next_words(loaded, "kan", running=False) == ["ansas", "ark"]


def test_numbers_are_words_of_running_text_alone(tiny_model: Callable[..., LoadedModel]) -> None:
    loaded = tiny_model("qwen2", 1)
    digits = {str(digit) for digit in range(10)}
    (prompt,) = plain_prompts(loaded.tokenizer, ["ark"])
    (running,) = own_words(loaded.model, loaded.tokenizer, [prompt], count=100, running=True)
    (answer,) = own_words(loaded.model, loaded.tokenizer, [prompt], count=100)
    assert {word for word in running.words if word[0].isdigit()} & digits
    assert not [word for word in answer.words if word[0].isdigit()]
