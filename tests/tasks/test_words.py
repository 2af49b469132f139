import hashlib

import pytest
import simplemma
import wordfreq
from hypothesis import given
from hypothesis import strategies as st

from outctl.tasks.splits import belongs_to_eval, words_of_split
from outctl.tasks.words import (
    FUNCTION_WORDS,
    RARE_BAND,
    common_words,
    is_rare_word,
    rare_words,
    starts_another,
)


def test_fewer_common_words_are_the_beginning_of_more():
    assert common_words(50) == common_words(400)[:50]
    assert len(common_words(400)) == 400


def test_common_words_are_distinct_plain_words_in_their_base_form():
    words = common_words(2000)
    assert len(set(words)) == len(words)
    for word in words:
        assert word.isascii()
        assert word.isalpha()
        assert word.islower()
        assert 3 <= len(word) <= 10
        assert simplemma.lemmatize(word, lang="en") == word


def test_common_words_are_the_commonest_but_for_function_words():
    words = common_words(400)
    assert {"number", "city", "night"} < set(words)
    assert {"the", "and", "with", "have", "from", "that"}.isdisjoint(words)
    frequencies = [wordfreq.zipf_frequency(word, "en") for word in words]
    assert frequencies == sorted(frequencies, reverse=True)
    more_common = [
        word
        for word in wordfreq.top_n_list("en", 1000)
        if wordfreq.zipf_frequency(word, "en") > frequencies[0]
        and word.isascii()
        and word.isalpha()
        and 3 <= len(word) <= 10
        and simplemma.lemmatize(word, lang="en") == word
    ]
    assert len(more_common) <= FUNCTION_WORDS


@pytest.mark.parametrize("word", ["cracked", "cracking", "opinions", "michaels", "midw", "concent"])
def test_inflections_and_pieces_are_not_asked_for(word):
    assert word not in common_words(6000)


@pytest.mark.parametrize("word", ["crack", "opinion", "piano", "apple"])
def test_base_forms_are_asked_for(word):
    assert word in common_words(6000)


@pytest.mark.parametrize("bar", [3.5, 5.0])
def test_rare_words_meet_the_bar_and_are_still_known(bar):
    words = rare_words(bar)
    assert len(set(words)) == len(words) > 1000
    frequencies = [wordfreq.zipf_frequency(word, "en") for word in words]
    assert max(frequencies) == bar
    assert min(frequencies) == bar - RARE_BAND
    assert all(is_rare_word(word, bar) for word in words)
    assert all(simplemma.lemmatize(word, lang="en") == word for word in words)


@pytest.mark.parametrize(
    ("word", "bar", "rare"),
    [
        ("abacus", 3.5, True),
        ("Abacus", 3.5, True),
        ("xylophone", 3.5, True),
        ("abacus", 2.65, True),
        ("abacus", 2.64, False),
        ("the", 3.5, False),
        ("crack", 3.5, False),
        ("cracked", 3.5, False),
        ("the", 8.0, True),
        ("qwxzy", 3.5, False),
        ("qwxzy", 8.0, False),
        ("midw", 8.0, False),
        ("aasvoel", 8.0, False),
        ("123", 8.0, False),
        ("two words", 8.0, False),
        ("", 8.0, False),
    ],
)
def test_rare_words_are_english_and_below_the_bar(word, bar, rare):
    assert is_rare_word(word, bar) is rare


@given(st.integers(0, 2**32 - 1), st.text(st.characters(codec="ascii"), min_size=1), st.floats(0, 1, exclude_min=True))
def test_split_is_the_hash_of_seed_and_item(seed, item, fraction):
    position = int(hashlib.sha256(f"{seed}/{item}".encode()).hexdigest()[:16], 16) / 2**64
    assert belongs_to_eval(seed, item, fraction) == (position < fraction)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_capitals_do_not_matter_to_the_split(split):
    words = common_words(300)
    own = words_of_split(words, 0.5, 2, 0, split)
    assert words_of_split(tuple(map(str.upper, words)), 0.5, 2, 0, split) == tuple(map(str.upper, own))
    assert words_of_split(tuple(map(str.title, words)), 0.5, 2, 0, split) == tuple(map(str.title, own))
    assert own == tuple(word for word in words if belongs_to_eval(0, word, 0.5) == (split == "eval"))


@pytest.mark.parametrize("fraction", [0.1, 0.125, 0.5])
def test_split_has_about_the_share_that_is_asked_for(fraction):
    chosen = sum(belongs_to_eval(0, str(number), fraction) for number in range(10_000))
    assert chosen / 10_000 == pytest.approx(fraction, abs=0.02)


def test_larger_share_keeps_what_the_smaller_one_set_aside():
    few = {number for number in range(2000) if belongs_to_eval(0, str(number), 0.1)}
    many = {number for number in range(2000) if belongs_to_eval(0, str(number), 0.3)}
    assert few < many


def test_another_seed_sets_other_items_aside():
    first, second = ({number for number in range(2000) if belongs_to_eval(seed, str(number), 0.1)} for seed in (0, 1))
    assert 0 < len(first & second) < len(first) / 4


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ark", "atom"], False),
        (["ark", "arkansas"], True),
        (["arkansas", "ark"], True),
        (["ark", "ark"], True),
        (["ark", "dark"], False),
        (["stone", "atom", "sto"], True),
        (["arc", "ark", "arm"], False),
        (["ark"], False),
        (["ark", "Ark"], True),
        (["Ark", "arkansas"], True),
        (["ÉTÉ", "été"], True),
        (["straße", "STRASSE"], True),
        (["ΣΊΣΥΦΟΣ", "σίσυφος"], True),
        (["NASA", "nascent"], False),
    ],
)
def test_prefixes_and_repetitions_are_found(words, expected):
    assert starts_another(words) is expected
