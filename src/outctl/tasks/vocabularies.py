"""What words are drawn from: common words, phrases of them, small closed sets, or a file of the user's."""

import string
from importlib import resources
from pathlib import Path

from outctl.config.reading import nearest
from outctl.config.schema import VOCABULARIES
from outctl.errors import OutctlError

LETTERS = tuple(string.ascii_lowercase)
DIGITS = tuple(string.digits)
SYMBOLS = tuple("!?#$&*+=@^~<>/;|")
"""Characters that a sentence about shares does not need itself."""
LARGEST = 10_000_000
"""Bytes of a file of words."""


def listed_words(vocabulary: str) -> tuple[str, ...] | None:
    """The entries of a closed vocabulary or of a user's file; None where words are drawn by how common they are.

    Raises:
        OutctlError: there is no such vocabulary, or the file is missing, no UTF-8, or holds no words.
    """
    if vocabulary.endswith(".txt"):
        return _read(Path(vocabulary))
    if vocabulary not in VOCABULARIES:
        raise OutctlError(
            f"there is no vocabulary {vocabulary!r}; {nearest(vocabulary, VOCABULARIES)}, or give a .txt file"
        )
    if vocabulary == "names":
        return _read(Path(str(resources.files(__package__).joinpath("names.txt"))))
    return {"letters": LETTERS, "digits": DIGITS, "symbols": SYMBOLS}.get(vocabulary)


def _read(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > LARGEST:
            raise OutctlError(f"{path}: larger than {LARGEST} bytes, which no list of words is")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OutctlError(f"{path}: cannot be read as a list of words: {error}") from None
    words = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not words:
        raise OutctlError(f"{path}: holds no words; write one a line")
    return words
