from pathlib import Path

import pytest

from outctl.config.registries import VOCABULARIES
from outctl.errors import OutctlError
from outctl.tasks.lists import listed_words
from outctl.tasks.words import common_words, starts_another

CLOSED = [name for name in VOCABULARIES if VOCABULARIES[name].apart]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_closed_vocabularies_list_their_words_and_the_others_none(name: str) -> None:
    words = listed_words(name)
    assert (words is not None) == (name in CLOSED)
    if words:
        assert len(words) >= 10
        assert len(set(words)) == len(words)
        assert not starts_another(list(words)) or name == "names"


def test_words_of_a_file_are_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("ark\n\n  été \nlong  ship\nark\n", encoding="utf-8")
    assert listed_words(str(file)) == ("ark", "été", "long ship")


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot be read as a list of words"), (b"\xff\xfe", "cannot be read"), (b" \n", "holds no words")],
)
def test_a_broken_file_gives_one_line_with_its_name(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "own.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OutctlError, match=text) as caught:
        listed_words(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_vocabulary_gets_the_nearest_name() -> None:
    with pytest.raises(OutctlError, match=r"no vocabulary 'leters'; did you mean 'letters'\?, or give a \.txt file"):
        listed_words("leters")


def test_what_is_in_a_closed_vocabulary_is_nowhere_trained_on_as_a_common_word() -> None:
    # Capitalised forms of common words count as those words, so *Frank* would be seen where *frank* is.
    common = set(common_words(35_000))
    assert {entry for name in CLOSED for entry in listed_words(name) or () if entry.casefold() in common} == set()
