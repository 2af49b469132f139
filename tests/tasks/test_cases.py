import math
import re
from collections import Counter
from itertools import islice, product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outctl.config.cases import Percents
from outctl.config.registries import CaseConfig
from outctl.errors import OutctlError
from outctl.tasks.cases import draw_samples
from outctl.tasks.drawing import EVAL_SEEDS, MANY_SAMPLES, draw_percents, draw_seeds
from outctl.tasks.kinds.given_words import GivenWords
from outctl.tasks.kinds.icl_random_words import IclRandomWords
from outctl.tasks.kinds.random_words import RandomWords
from outctl.tasks.kinds.successive_words import SuccessiveWords
from outctl.tasks.kinds.suppression import TOPICS_FOR_EVAL, Suppression
from outctl.tasks.samples import Sample
from outctl.tasks.splits import belongs_to_eval, words_of_split
from outctl.tasks.templates import Example, Template, load_template, template_names
from outctl.tasks.topics import TOPICS
from outctl.tasks.words import common_words, is_rare_word, starts_another


def given_words(**options: Any) -> GivenWords:
    return GivenWords.model_validate({"kind": "given_words", "eval_samples": 1, "vocabulary_size": 120, **options})


def own_words(**options: Any) -> RandomWords:
    return RandomWords.model_validate({"kind": "random_words", "eval_samples": 1, **options})


def icl_words(**options: Any) -> IclRandomWords:
    return IclRandomWords.model_validate({"kind": "icl_random_words", "eval_samples": 1, **options})


CASES = [
    pytest.param(given_words(), id="given_words"),
    pytest.param(given_words(num_words=3), id="three given_words"),
    pytest.param(own_words(), id="random_words"),
    pytest.param(icl_words(), id="icl_random_words"),
]
every_case = pytest.mark.parametrize("case", CASES)


def draw(
    case: CaseConfig, split: str = "eval", count: int = 20, *, name: str = "case", seed: int = 0, **template: Any
) -> list[Sample]:
    loaded = load_template(case.kind).model_copy(update=template)
    return list(draw_samples(case, loaded, name, split, count, seed))


def words_of(samples: list[Sample]) -> set[str]:
    return {word for sample in samples for word in sample.words or []}


def seeds_of(samples: list[Sample]) -> set[int]:
    return {sample.seed for sample in samples}


def compositions(percents: Percents, count: int) -> set[tuple[int, ...]]:
    """All ways to share 100 per cent among `count` words, by trying them all."""
    shares = range(percents.min, percents.max + 1, percents.step)
    return {parts for parts in product(shares, repeat=count) if sum(parts) == 100}


class Limited(Random):
    """Random numbers that run out, for what must be drawn and not searched for."""

    left = 20_000

    def getrandbits(self, k: int) -> int:
        self.left -= 1
        assert self.left >= 0, "searches for long"
        return super().getrandbits(k)


@st.composite
def percents_and_counts(draw_from: st.DrawFn) -> tuple[Percents, int]:
    """Percents, and a number of words that can share 100 per cent by them."""
    step = draw_from(st.sampled_from([1, 2, 4, 5, 10, 20, 25, 50]))
    count = draw_from(st.integers(2, min(8, 100 // step)))
    least = step * draw_from(st.integers(1, 100 // step // count))
    most = draw_from(st.integers(step * math.ceil(100 / step / count), 99))
    return Percents(min=least, max=most, step=step), count


@settings(max_examples=80, deadline=None)
@given(percents_and_counts(), st.integers(0, 9))
def test_drawn_percents_keep_to_their_bounds(percents_and_count, seed):
    percents, count = percents_and_count
    drawn = draw_percents(Limited(seed), percents, count)
    assert len(drawn) == count
    assert sum(drawn) == 100
    assert all(percents.min <= share <= percents.max and share % percents.step == 0 for share in drawn)


@pytest.mark.parametrize(("least", "most", "count"), [(1, 13, 8), (1, 15, 8), (1, 17, 6), (12, 99, 8), (1, 99, 8)])
def test_narrow_percents_are_drawn_as_fast_as_wide_ones(least, most, count):
    drawn = draw_percents(Limited(0), Percents(min=least, max=most, step=1), count)
    assert sum(drawn) == 100
    assert least <= min(drawn) <= max(drawn) <= most


@pytest.mark.parametrize(
    ("percents", "count"),
    [
        (Percents(min=20, max=95, step=20), 3),
        (Percents(min=10, max=40, step=10), 3),
        (Percents(min=5, max=95, step=5), 2),
        (Percents(min=50, max=50, step=50), 2),
    ],
)
def test_all_ways_to_share_are_equally_likely(percents, count):
    random = Random(0)
    ways = compositions(percents, count)
    found = Counter(tuple(draw_percents(random, percents, count)) for _ in range(400 * len(ways)))
    assert set(found) == ways
    assert all(number == pytest.approx(400, abs=100) for number in found.values())


@pytest.mark.parametrize("split", ["train", "eval"])
def test_prompt_seeds_are_distinct_and_of_their_split(split):
    seeds = list(islice(draw_seeds(Random(0), 0, split), 3000))
    assert len(set(seeds)) == 3000
    assert all(0 < seed < 10**6 for seed in seeds)
    assert {belongs_to_eval(0, str(seed), EVAL_SEEDS) for seed in seeds} == {split == "eval"}


def test_prompt_seeds_grow_longer_when_many_are_needed():
    seeds = list(islice(draw_seeds(Random(0), 0, "train"), MANY_SAMPLES * 2))
    assert len(set(seeds)) == MANY_SAMPLES * 2
    assert max(seeds) > 10**6


@every_case
@pytest.mark.parametrize("split", ["train", "eval"])
def test_fewer_samples_are_the_beginning_of_more(case, split):
    assert draw(case, split, 5) == draw(case, split, 12)[:5]


@every_case
def test_draws_are_repeated_exactly_and_differ_by_seed_and_split(case):
    first = draw(case)
    assert draw(case) == first
    for other in (draw(case, seed=1), draw(case, "train")):
        assert sum(a.messages[-1] == b.messages[-1] for a, b in zip(first, other, strict=True)) <= 1


@every_case
def test_cases_that_differ_in_wording_alone_ask_for_the_same(case):
    wording = {"system": "Be brief.", "question": "{{ shares if shares is defined else [seed, percents] }}"}
    for a, b in zip(draw(case, name="a"), draw(case, name="b", **wording), strict=True):
        assert (a.words, a.target, a.seed) == (b.words, b.target, b.seed)
        assert a.messages[-1] != b.messages[-1]
        assert a.sample_id != b.sample_id
        assert [answer for _, answer in shown(a)] == [answer for _, answer in shown(b)]


@every_case
def test_samples_say_what_they_are(case):
    case = case.model_copy(update={"tolerance": 0.2})
    samples = draw(case, "train", 3, name="my-case")
    assert [sample.sample_id for sample in samples] == [f"my-case-train-{number:05d}" for number in range(3)]
    assert {(sample.case, sample.tolerance) for sample in samples} == {("my-case", 0.2)}
    assert len(seeds_of(samples)) == 3


@pytest.mark.parametrize(
    ("case", "count", "least", "most"),
    [
        (given_words(), 100, 5, 95),
        (given_words(num_words=3), 400, 5, 90),
        (own_words(), 100, 5, 95),
        (given_words(percents={"min": 20, "max": 80, "step": 10}), 100, 20, 80),
    ],
)
def test_targets_span_the_percents_in_whole_steps_and_sum_to_one(case, count, least, most):
    percents = [[share * 100 for share in sample.target] for sample in draw(case, count=count)]
    for shares in percents:
        assert sum(shares) == pytest.approx(100, abs=1e-9)
        for share in shares:
            assert share / case.percents.step == pytest.approx(round(share / case.percents.step), abs=1e-9)
    every = [share for shares in percents for share in shares]
    assert min(every) == pytest.approx(least)
    assert max(every) == pytest.approx(most)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_given_words_are_distinct_and_none_starts_another(count):
    for sample in draw(given_words(num_words=count, percents={"max": 90}), "train", 40):
        assert len(sample.words) == len(set(sample.words)) == len(sample.target) == count
        assert not starts_another(sample.words)


def test_question_asks_for_the_words_and_shares_of_its_target():
    for sample in draw(given_words(num_words=3)):
        asked = re.findall(r"(\d+)% (\w+)", sample.messages[-1]["content"])
        assert [word for _, word in asked] == sample.words
        assert [int(percent) / 100 for percent, _ in asked] == sample.target
        assert sample.max_zipf is None


def test_first_word_of_a_question_is_not_always_the_likelier():
    first = [sample.target[0] > sample.target[1] for sample in draw(given_words(), count=100)]
    assert 30 < sum(first) < 70


def test_train_and_eval_share_no_word_nor_seed_across_cases():
    names = {"a": given_words(), "b": given_words(num_words=3, vocabulary_size=300), "c": own_words(), "d": icl_words()}
    samples = {
        split: [sample for name, case in names.items() for sample in draw(case, split, 60, name=name)]
        for split in ("train", "eval")
    }
    assert len(words_of(samples["train"])) > 80
    assert len(words_of(samples["eval"])) > 15
    assert words_of(samples["train"]).isdisjoint(words_of(samples["eval"]))
    assert seeds_of(samples["train"]).isdisjoint(seeds_of(samples["eval"]))


def test_splits_of_the_vocabulary_are_a_partition():
    train, evaluation = (words_of_split(common_words(120), 0.3, 2, 0, split) for split in ("train", "eval"))
    assert sorted(train + evaluation) == sorted(common_words(120))
    assert set(train).isdisjoint(evaluation)
    assert 0.2 < len(evaluation) / 120 < 0.4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"vocabulary_size": 20, "eval_fraction": 0.01},
            "of 20 words are left for eval, and a sample takes 2",
        ),
        ({"vocabulary_size": 50_000}, "vocabulary_size"),
    ],
)
def test_unfit_vocabulary_gives_one_line(options, text):
    with pytest.raises(OutctlError) as caught:
        draw(given_words(**options))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_examples_than_rare_words_give_one_line():
    with pytest.raises(OutctlError) as caught:
        draw(icl_words(max_zipf=8.0, num_examples=64))
    assert "num_examples" in str(caught.value)


@pytest.mark.parametrize("case", [own_words(max_zipf=5.0), icl_words(max_zipf=5.0)])
def test_own_words_are_asked_for_by_seed_and_rank(case):
    samples = draw(case)
    for sample in samples:
        larger, smaller = sample.target
        assert larger >= smaller
        question = sample.messages[-1]["content"]
        assert re.search(rf"\b{sample.seed}\b", question)
        assert re.findall(r"(\d+)%", question) == [f"{round(larger * 100)}", f"{round(smaller * 100)}"]
        assert (sample.words, sample.max_zipf) == (None, 5.0)


def shown(sample: Sample) -> list[tuple[str, str]]:
    """Answered examples of a conversation: what was asked and what was answered."""
    turns = [message for message in sample.messages if message["role"] != "system"][:-1]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    return [(turns[at]["content"], turns[at + 1]["content"]) for at in range(0, len(turns), 2)]


def test_drawn_examples_are_the_same_in_all_samples_and_splits():
    case = icl_words(num_examples=5)
    examples = [shown(sample) for split in ("train", "eval") for sample in draw(case, split, 20)]
    assert all(example == examples[0] for example in examples)
    assert len(examples[0]) == len(set(examples[0])) == 5
    assert shown(draw(case, seed=1)[0]) != examples[0]


def test_drawn_examples_are_answered_with_distinct_rare_words():
    answers = [answer for _, answer in shown(draw(icl_words(num_examples=16, max_zipf=5.0))[0])]
    assert len(set(answers)) == 16
    assert all(is_rare_word(answer, 5.0) for answer in answers)


def test_drawn_examples_take_their_seeds_from_training():
    case = icl_words(num_examples=16)
    seeds = {int(re.search(r"Seed (\d+)", question)[1]) for question, _ in shown(draw(case)[0])}
    assert len(seeds) == 16
    assert not any(belongs_to_eval(0, str(seed), EVAL_SEEDS) for seed in seeds)


def test_drawn_examples_ask_for_shares_within_the_percents():
    case = icl_words(num_examples=16, percents={"min": 30, "max": 70, "step": 10})
    asked = [re.findall(r"(\d+)%", question) for question, _ in shown(draw(case)[0])]
    assert {tuple(map(int, percents)) for percents in asked} == {(50, 50), (60, 40), (70, 30)}


def test_fixed_parts_of_a_template_stand_before_the_question():
    examples = [Example(user=" Which? ", assistant=" ark ")]
    (sample,) = draw(given_words(), count=1, system=" Be brief. ", examples=examples)
    assert sample.messages[:-1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "ark"},
    ]
    assert sample.messages[-1]["role"] == "user"


@every_case
def test_no_turn_begins_or_ends_with_white_space(case):
    for sample in draw(case, count=5):
        assert all(message["content"] == message["content"].strip() != "" for message in sample.messages)


def test_template_without_answer_cannot_show_examples():
    template = Template(question="Seed {{ seed }}: {{ percents }}")
    with pytest.raises(OutctlError, match=r"^cases\.icl\.template: the template has no `answer`"):
        next(draw_samples(icl_words(), template, "icl", "eval", 1, 0))


def test_shares_leave_out_a_gap():
    case = given_words(num_words=3, percents={"gap": {"min": 30, "max": 45}})
    asked = {round(100 * share) for sample in draw(case, count=300) for share in sample.target}
    assert asked == {share for share in range(5, 95, 5) if not 30 <= share <= 45}


def test_words_of_a_list_are_split_like_all_others():
    listed = tuple(f"word{number}" for number in range(40))
    case = given_words(eval_fraction=0.4)
    drawn = {
        split: words_of(draw_samples(case, load_template("given_words"), "case", split, 200, 0, listed))
        for split in ("train", "eval")
    }
    assert drawn["train"] | drawn["eval"] == set(listed)
    assert drawn["train"].isdisjoint(drawn["eval"])


def test_a_list_in_which_each_word_begins_another_is_refused():
    case = given_words(eval_fraction=0.999)
    with pytest.raises(OutctlError, match="of which none begins another"):
        list(draw_samples(case, load_template("given_words"), "case", "eval", 1, 0, ("a", "ab", "abc", "abcd")))


def test_phrases_are_two_words_of_the_split():
    samples = draw(given_words(vocabulary="phrases", eval_fraction=0.5), count=50)
    own = set(words_of_split(common_words(120), 0.5, 4, 0, "eval"))
    for sample in samples:
        parts = [part for phrase in sample.words for part in phrase.split(" ")]
        assert len(parts) == len(set(parts)) == 4
        assert set(parts) <= own


def test_successive_words_are_asked_for_as_their_joint_distribution():
    case = SuccessiveWords.model_validate({"kind": "successive_words", "eval_samples": 1, "vocabulary_size": 200})
    for sample in draw(case, count=30):
        asked = re.findall(r"(\d+)% (\w+)", sample.messages[-1]["content"])
        shares = {word: int(percent) / 100 for percent, word in asked}
        assert len(shares) == 4
        assert sum(sample.target) == pytest.approx(1.0)
        for phrase, share in zip(sample.words, sample.target, strict=True):
            first, second = phrase.split(" ")
            assert share == pytest.approx(shares[first] * shares[second])
        assert [sample.words[0].split()[0], sample.words[0].split()[1]] == [asked[0][1], asked[2][1]]


def test_suppression_names_one_of_the_answers_and_asks_the_same_without_a_limit():
    case = Suppression.model_validate({"kind": "suppression", "eval_samples": 1})
    answers = {topic.name: set(topic.answers) for topic in TOPICS}
    train, evaluation = (draw(case, split, 60) for split in ("train", "eval"))
    for sample in [*train, *evaluation]:
        question, free = sample.messages[-1]["content"], sample.free_messages[-1]["content"]
        (topic,) = [name for name in answers if f"Name {name}," in question]
        named, others = sample.answers
        assert sample.at_most
        assert set(named) | set(others) == answers[topic]
        assert len(named) == 1
        assert f"Say {named[0]} at most {round(100 * sample.target[0])}% of the time." in question
        assert topic in free
        assert "%" not in free
        assert round(100 * sample.target[0]) in case.limits
    assert {sample.free_messages[-1]["content"] for sample in train}.isdisjoint(
        sample.free_messages[-1]["content"] for sample in evaluation
    )


def test_no_limit_is_asked_for_twice_before_all_have_been():
    case = Suppression.model_validate({"kind": "suppression", "eval_samples": 1, "limits": [1, 10]})
    evaluated = [topic for topic in TOPICS if belongs_to_eval(0, topic.name, TOPICS_FOR_EVAL)]
    every = 2 * sum(len(topic.answers) for topic in evaluated)
    questions = [sample.messages[-1]["content"] for sample in draw(case, "eval", 2 * every)]
    first, second = questions[:every], questions[every:]
    assert len(set(first)) == every
    assert set(second) == set(first)
    assert second != first


def test_cases_that_differ_in_how_shares_are_written_ask_the_same():
    names = [name for name in template_names() if name.startswith("given_words")]
    by_name = {name: list(draw_samples(given_words(), load_template(name), "case", "eval", 20, 0)) for name in names}
    for samples in by_name.values():
        assert [(sample.words, sample.target) for sample in samples] == [
            (sample.words, sample.target) for sample in by_name["given_words"]
        ]
    assert len({samples[0].messages[-1]["content"] for samples in by_name.values()}) == len(names)
