"""Written answers: which word each one is, and what counts amount to, against the rules of the exact measurement."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from outctl.evaluation.scoring import score
from outctl.exchange.answers import answered, distribution_scores, first_token_probabilities, frequency_scores
from outctl.inference.prompts import build_prompts
from outctl.inference.sampling import classify, sample_answers
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message, Sample


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("ark", 0),
        (" Ark.", 0),
        ("ark and atom", 0),
        ("atom\n", 1),
        ("ark's", None),
        ("ark's'", None),
        ("ark'", 0),
        ("arkansas", None),
        ("ark-like", None),
        ("ARK", None),
        ('"ark"', None),
        ("  ark", None),
        ("the ark", None),
        ("", None),
    ],
)
def test_an_answer_is_the_word_that_it_begins_with_if_the_word_ends_there(text: str, number: int | None) -> None:
    assert answered(text, [["ark"], ["atom"]]) == number


def test_a_word_at_the_very_end_of_an_answer_that_was_cut_off_is_undecided() -> None:
    assert answered("ark", [["ark"]], cut=True) is None
    assert answered("ark,", [["ark"]], cut=True) == 0


def test_any_of_the_answers_that_count_for_a_word_is_it() -> None:
    outcomes = [["Saturn"], ["Mars", "Venus"]]
    assert [answered(text, outcomes) for text in ("Venus", "Mars!", "saturn", "Saturn")] == [1, 1, None, 0]


def test_phrases_are_answers_as_a_whole() -> None:
    assert [answered(text, [["oak rail"], ["oak whig"]]) for text in ("Oak whig", "oak", "oak railway")] == [
        1,
        None,
        None,
    ]


def test_texts_are_classified_as_their_tokens_are(tiny_model: Callable[..., LoadedModel]) -> None:
    loaded = tiny_model()
    words = ["ark", "at"]
    messages = [[Message(role="user", content=f"say {word}")] for word in "abcdef"]
    prompts = build_prompts(loaded.tokenizer, messages, chat=True)
    questions = word_questions(loaded.tokenizer, prompts, [words] * len(prompts))
    size = loaded.model.get_input_embeddings().weight.shape[0]
    continuations = word_continuations(loaded.tokenizer, size)
    seen = set()
    # Every form is written and gone on with by every token, and a model of random weights adds what it likes.
    for question, drawn in zip(questions, sample_answers(loaded.model, questions, 300, 0), strict=True):
        forms = [form for own in question.forms for form in own]
        for tokens in {*drawn, *((*form, token) for form, token in product(forms, range(size)))}:
            if tokens[-1] in loaded.tokenizer.all_special_ids:
                continue
            number = classify(tokens, question.forms, continuations)
            text = loaded.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
            # The same text in other tokens counts too, which is the one difference.
            if number is not None or tuple(loaded.tokenizer(text, add_special_tokens=False)["input_ids"]) == tokens:
                assert answered(text, [[word] for word in words]) == number, text
                seen.add(number)
    assert seen == {None, 0, 1}


@pytest.mark.parametrize("at_most", [False, True])
@pytest.mark.parametrize("probabilities", [(0.6, 0.3), (0.05, 0.8), (0.0, 0.0), (1.0, 0.0)])
def test_scores_are_those_of_the_records(probabilities: tuple[float, float], at_most: bool) -> None:
    message = Message(role="user", content="?")
    sample = Sample(
        sample_id="1", case="c", messages=[message], words=["ark", "atom"], target=[0.2, 0.8], at_most=at_most,
        tolerance=0.1, seed=0,
    )  # fmt: skip
    logarithms = [math.log(p) if p else -math.inf for p in probabilities]
    record = score(sample, "m", "baseline", ["ark", "atom"], logarithms, [(letter, 0.01) for letter in "abcdefghijk"])
    found = distribution_scores(probabilities, sample.target, at_most)
    assert found["tvd"] == pytest.approx(record.tvd)
    assert found["mass"] == pytest.approx(1.0 - record.other_mass)
    undefined = found["conditional_tvd"] != found["conditional_tvd"]
    assert (None if undefined else pytest.approx(found["conditional_tvd"])) == record.conditional_tvd
    assert undefined == (found["first_share"] != found["first_share"])


def test_counts_are_scored_as_frequencies_beside_what_sampling_alone_makes_of_them() -> None:
    found = frequency_scores([6, 3], 10, [0.7, 0.3], at_most=False)
    assert found["tvd"] == pytest.approx(0.1)
    assert found["mass"] == pytest.approx(0.9)
    assert found["first_share"] == pytest.approx(2 / 3)
    hits = np.arange(11)
    mean = (stats.binom.pmf(hits, 10, 0.7) * np.abs(hits / 10 - 0.7)).sum()
    assert found["sampling_floor"] == pytest.approx(mean)
    assert frequency_scores([6, 3], 10, [0.7, 0.3], at_most=True)["sampling_floor"] == 0.0


def test_a_first_token_counts_for_the_one_word_that_it_may_begin() -> None:
    outcomes = [["dungeon"], ["oak"], ["oath"]]
    top = [(" d", 0.4), ("Oak", 0.2), (" oa", 0.1), (" ", 0.1), ("", 0.05), ("oaks", 0.02), ("dog", 0.01)]
    assert first_token_probabilities(top, outcomes) == [0.4, 0.2, 0.0]
