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
    file.write_text("ark\n\n  été \nlong  ship\n", encoding="utf-8")
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


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_lists_are_the_same_whatever_editor_saved_them(tmp_path: Path, mark: bytes, ends: str) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(
        mark + ends.join(["ark", "", "e\u0301te\u0301", "long\u00a0\tship ", "A\u030angstro\u0308m"]).encode()
    )
    assert listed_words(str(file)) == ("ark", "été", "long ship", "Ångström")


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("a\u200bb", "U+200B, ZERO WIDTH SPACE"),
        ("a\u200db", "U+200D, ZERO WIDTH JOINER"),
        ("ab\u200c", "U+200C, ZERO WIDTH NON-JOINER"),
        ("a\u00adb", "U+00AD, SOFT HYPHEN"),
        ("a\ufeffb", "U+FEFF, ZERO WIDTH NO-BREAK SPACE"),
        ("\u200eab", "U+200E, LEFT-TO-RIGHT MARK"),
        ("a\u2060b", "U+2060, WORD JOINER"),
        ("a\u2028b", "U+2028, LINE SEPARATOR"),
        ("a\x0bb", "U+000B, a control character"),
        ("a\x85b", "U+0085, a control character"),
        ("a\ufe0fb", "U+FE0F, VARIATION SELECTOR-16"),
        ("a\u3164b", "U+3164, HANGUL FILLER"),
        ("a\u2800b", "U+2800, BRAILLE PATTERN BLANK"),
        ("a\U000e0041b", "U+E0041, TAG LATIN CAPITAL LETTER A"),
    ],
)
def test_an_invisible_character_is_refused_by_its_line(tmp_path: Path, word: str, named: str) -> None:
    file = tmp_path / "own.txt"
    file.write_text(f"ark\n\n{word}\n", encoding="utf-8", newline="")
    with pytest.raises(OutctlError, match="which is invisible; delete it") as caught:
        listed_words(str(file))
    assert f"{file}: line 3: " in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        "می\u200cخواهم",
        "क्\u200dष",
        "ශ්\u200dරී",
        "col·lecció",
        "l’eau",
        "non\u2011stop",
        "हिन्दी",
        "שלום",
        "naïve",
        "日本語",
        "ark atom",
    ],
)
def test_words_of_every_script_are_read_as_they_are_spelt(tmp_path: Path, word: str) -> None:
    file = tmp_path / "own.txt"
    file.write_text(f"{word}\n", encoding="utf-8")
    assert listed_words(str(file)) == (word,)


@pytest.mark.parametrize("again", ["été", "e\u0301te\u0301", "  été  "])
def test_a_word_that_is_there_twice_is_refused_by_its_line(tmp_path: Path, again: str) -> None:
    file = tmp_path / "own.txt"
    file.write_text(f"ark\nété\n\nÉté\n{again}\n", encoding="utf-8")
    with pytest.raises(OutctlError, match="line 5: 'été' stands on line 2 already; delete one of them"):
        listed_words(str(file))


def test_an_unknown_vocabulary_gets_the_nearest_name() -> None:
    with pytest.raises(OutctlError, match=r"no vocabulary 'leters'; did you mean 'letters'\?, or give a \.txt file"):
        listed_words("leters")


def test_what_is_in_a_closed_vocabulary_is_nowhere_trained_on_as_a_common_word() -> None:
    # Capitalised forms of common words count as those words, so *Frank* would be seen where *frank* is.
    common = set(common_words(35_000))
    assert {entry for name in CLOSED for entry in listed_words(name) or () if entry.casefold() in common} == set()
