"""The words of samples: common words to ask for, and the bar that rare words must meet.

The word list and the dictionary are imported where they are used, since planning needs neither.
"""

from functools import lru_cache

from outctl.errors import OutctlError
from outctl.tasks.spelling import without_capitals

LANGUAGE = "en"
FUNCTION_WORDS = 150
"""How many of the commonest words are left out: articles, pronouns and auxiliaries."""
RARE_BAND = 1.5
"""Examples take rare words down to this many orders of magnitude below the bar, where people still know them."""


def _is_base_form(word: str) -> bool:
    """Whether a dictionary has the word and it is no inflection: *crack* but neither *cracked* nor *michaels*."""
    import simplemma

    return bool(simplemma.is_known(word, lang=LANGUAGE) and simplemma.lemmatize(word, lang=LANGUAGE) == word)


def _is_plain(word: str) -> bool:
    return word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 10


@lru_cache(maxsize=8)
def common_words(size: int) -> tuple[str, ...]:
    """The `size` most common English words in their base form, the very commonest left out; commonest first.

    Inflections are left out because a model that says *cracked* for *crack* has understood the question, and pieces
    that are no words because nobody would ask for them.

    Raises:
        OutctlError: the word list has fewer such words.
    """
    import wordfreq

    found: list[str] = []
    for word in wordfreq.iter_wordlist(LANGUAGE):
        if _is_plain(word) and _is_base_form(word):
            found.append(word)
            if len(found) == FUNCTION_WORDS + size:
                return tuple(found[FUNCTION_WORDS:])
    raise OutctlError(f"vocabulary_size: the word list has {len(found) - FUNCTION_WORDS} words, not {size}")


@lru_cache(maxsize=8)
def rare_words(max_zipf: float) -> tuple[str, ...]:
    """English words in their base form that meet the rarity bar, though not by more than `RARE_BAND`; commonest first.

    Raises:
        OutctlError: no word of the list is so rare.
    """
    import wordfreq

    found = []
    for word in wordfreq.iter_wordlist(LANGUAGE):
        zipf = wordfreq.zipf_frequency(word, LANGUAGE)
        if zipf < max_zipf - RARE_BAND:
            break
        if zipf <= max_zipf and _is_plain(word) and _is_base_form(word):
            found.append(word)
    if not found:
        raise OutctlError(f"max_zipf: no word of the list has a Zipf frequency of at most {max_zipf}")
    return tuple(found)


def is_rare_word(word: str, max_zipf: float) -> bool:
    """Whether this is an English word, and one whose Zipf frequency is at most `max_zipf`."""
    import simplemma
    import wordfreq

    if not word or not simplemma.is_known(word, lang=LANGUAGE):
        return False
    return bool(0.0 < wordfreq.zipf_frequency(word, LANGUAGE) <= max_zipf)


def starts_another(words: list[str]) -> bool:
    """Whether one of the words begins another of them, or is another, whatever their capitals."""
    spelt = [without_capitals(word) for word in words]
    return len(set(spelt)) < len(spelt) or any(a != b and b.startswith(a) for a in spelt for b in spelt)
