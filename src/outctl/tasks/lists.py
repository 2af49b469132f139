"""Vocabularies that list their words: those of the package and of plug-ins, and files of the user's."""

from pathlib import Path

from outctl.config.reading import nearest
from outctl.config.registries import VOCABULARIES
from outctl.errors import OutctlError

LARGEST = 10_000_000
"""Bytes of a file of words."""


def listed_words(vocabulary: str) -> tuple[str, ...] | None:
    """The entries of a vocabulary or of a user's file; None where words are drawn by how common they are.

    Raises:
        OutctlError: there is no such vocabulary, or the file is missing, no UTF-8, or holds no words.
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
    """The words or phrases of a file, one a line, each once.

    Raises:
        OutctlError: the file is missing, no UTF-8, or holds no words.
    """
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
