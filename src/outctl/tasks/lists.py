"""Vocabularies that list their words: those of the package and of plug-ins, and files of the user's."""

import unicodedata
from pathlib import Path

from outctl.config.reading import nearest
from outctl.config.registries import VOCABULARIES
from outctl.errors import OutctlError
from outctl.tasks.spelling import invisible_character

LARGEST = 10_000_000
"""Bytes of a file of words."""


def listed_words(vocabulary: str) -> tuple[str, ...] | None:
    """The entries of a vocabulary or of a user's file; None where words are drawn by how common they are.

    Raises:
        OutctlError: there is no such vocabulary, or the file is missing, no UTF-8, holds no words, or has a line that is
            there twice or holds an invisible character.
    """
    if vocabulary.endswith(".txt"):
        return read_words(Path(vocabulary))
    if vocabulary not in VOCABULARIES:
        raise OutctlError(
            f"there is no vocabulary {vocabulary!r}; {nearest(vocabulary, list(VOCABULARIES))}, or give a .txt file"
        )
    entries = VOCABULARIES[vocabulary].entries
    return None if entries is None else entries()


def read_words(path: Path) -> tuple[str, ...]:
    """The words or phrases of a file, one a line.

    Raises:
        OutctlError: the file is missing, no UTF-8, holds no words, or has a line that is there twice or holds an invisible
            character.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise OutctlError(f"{path}: larger than {LARGEST} bytes, which no list of words is")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OutctlError(f"{path}: cannot be read as a list of words: {error}") from None
    first: dict[str, int] = {}
    # Other separators of lines, which an editor does not count, are invisible characters.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        word = unicodedata.normalize("NFC", line.replace("\t", " "))
        if hidden := invisible_character(word):
            problem = f"{word.strip()!r} holds U+{ord(hidden):04X}, {unicodedata.name(hidden, 'a control character')}"
            raise OutctlError(f"{path}: line {number}: {problem}, which is invisible; delete it")
        word = " ".join(word.split())
        if word and first.setdefault(word, number) != number:
            raise OutctlError(
                f"{path}: line {number}: {word!r} stands on line {first[word]} already; delete one of them"
            )
    if not first:
        raise OutctlError(f"{path}: holds no words; write one a line")
    return tuple(first)
