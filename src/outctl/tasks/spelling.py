"""Characters and spellings of words, in every script."""

import unicodedata

HIDDEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Characters that are drawn as nothing and that Unicode counts as letters, marks or symbols: fillers, variation selectors."""
ZERO_WIDTH = "\u200c\u200d"
"""Zero-width non-joiner and joiner, which some scripts spell words with."""


def is_letter(character: str) -> bool:
    """Whether a character is part of a word in some script: a letter, a digit, or a mark that combines with one."""
    return character.isalnum() or unicodedata.category(character).startswith("M") if character else False


def without_capitals(text: str) -> str:
    """What all spellings of a word have in common that differ only in capitals."""
    return unicodedata.normalize("NFC", text.casefold())


def invisible_character(word: str) -> str | None:
    """The first character of a word that nobody sees and that is no part of its spelling, None without one."""
    for position, character in enumerate(word):
        if character in ZERO_WIDTH and _spells(word, position):
            continue
        if character in HIDDEN or unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            return character
    return None


def _spells(word: str, position: int) -> bool:
    """Whether a zero-width character may change how its neighbours are drawn: behind a virama, or between Arabic letters."""
    before, after = word[:position][-1:], word[position + 1 :][:1]
    if not before or not after:
        return False
    return unicodedata.combining(before) == 9 or all(
        unicodedata.bidirectional(side) == "AL" for side in (before, after)
    )
