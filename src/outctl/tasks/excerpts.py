"""Texts that language models are likely to know by heart, and that come with what is installed."""

import codecs
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from outctl.errors import OutctlError
from outctl.tasks.deviation import FEWEST_WORDS

ZEN = "zen-of-python"
PACKAGES = ("pydantic", "safetensors", "numpy", "pandas", "scipy", "transformers", "rich", "psutil", "jinja2")
"""Pinned dependencies in whose licence files texts are looked for; of equal licences the first package's is taken."""
FILE_MARKS = ("licen", "copying")
"""What names of licence files, or of their folders, hold."""


class Licence(NamedTuple):
    """How a licence's text begins and ends, once white space is single spaces.

    What stands around it, names and years above all, nobody knows by heart.
    """

    beginning: str
    ending: str


LICENCES = {
    "mit": Licence(
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated",
        "OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.",
    ),
    "bsd": Licence(
        "Redistribution and use in source and binary forms, with or without modification, are permitted",
        "EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.",
    ),
    "apache": Licence("Apache License Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"),
    "python": Licence(
        "1. This LICENSE AGREEMENT is between the Python Software Foundation",
        "Licensee agrees to be bound by the terms and conditions of this License Agreement.",
    ),
    "boost": Licence("Boost Software License - Version 1.0", "OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."),
    "gpl": Licence("The GNU General Public License is a free, copyleft license", "END OF TERMS AND CONDITIONS"),
    "zlib": Licence("This software is provided 'as-is',", "altered from any source distribution."),
}


def excerpt_texts(files: Sequence[Path]) -> dict[str, str]:
    """Texts to take excerpts from: the Zen of Python, licences of installed packages, and a user's own files.

    A licence that no installed package brings is left out. Which are there follows from the versions of `PACKAGES`.

    Args:
        files: further texts, in UTF-8; each is called by its file name without the ending.

    Returns:
        The texts by their names, always in the same order; words are parted by single spaces.

    Raises:
        OutctlError: a file is missing, is no UTF-8 or too short, or two texts would have one name.
    """
    texts = {ZEN: _zen()}
    brought = list(_licence_files())
    for name, licence in LICENCES.items():
        found = next(filter(None, (_between(text, licence) for text in brought)), None)
        if found is not None:
            texts[f"{name}-licence"] = found
    for file in files:
        if file.stem in texts:
            raise OutctlError(f"{file}: there is a text named {file.stem!r} already; rename the file")
        texts[file.stem] = _own_text(file)
    return texts


def _zen() -> str:
    # The module prints the text when it is imported for the first time.
    with redirect_stdout(io.StringIO()):
        import this

        hidden = str(this.s)
    return _single_spaced(codecs.decode(hidden, "rot13"))


def _licence_files() -> Iterator[str]:
    """The text of every licence file of the packages; packages and files that are not there are passed over."""
    for package in PACKAGES:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        for file in sorted(files, key=str):
            if not any(mark in str(file).lower() for mark in FILE_MARKS) or file.suffix in (".py", ".pyc"):
                continue
            try:
                yield _single_spaced(Path(str(file.locate())).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                continue


def _between(text: str, licence: Licence) -> str | None:
    """A licence's text out of a file's; None where the file does not hold it, or too little of it."""
    start = text.find(licence.beginning)
    end = text.find(licence.ending, start)
    found = text[start : end + len(licence.ending)]
    return found if start >= 0 and end >= 0 and len(found.split()) >= FEWEST_WORDS else None


def _own_text(file: Path) -> str:
    try:
        text = _single_spaced(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise OutctlError(f"{file}: no such file") from None
    except OSError as error:
        raise OutctlError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise OutctlError(f"{file}: not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    if (count := len(text.split())) < FEWEST_WORDS:
        raise OutctlError(f"{file}: has {count} words; an excerpt and its continuation need {FEWEST_WORDS}")
    return text


def _single_spaced(text: str) -> str:
    return " ".join(text.split())
