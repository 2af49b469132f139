"""Texts to take excerpts from: what is installed, and a user's own files."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from outctl.errors import OutctlError
from outctl.tasks import excerpts
from outctl.tasks.deviation import FEWEST_WORDS
from outctl.tasks.excerpts import PACKAGES, Licence, excerpt_texts

ROOT = Path(__file__).parent.parent.parent
LONG = "word " * FEWEST_WORDS
OPENINGS = {
    "zen-of-python": "The Zen of Python, by Tim Peters Beautiful is better than ugly. Explicit is better than implicit.",
    "mit-licence": "Permission is hereby granted, free of charge, to any person obtaining a copy of this software",
    "bsd-licence": "Redistribution and use in source and binary forms, with or without modification, are permitted",
    "apache-licence": "Apache License Version 2.0, January 2004 http://www.apache.org/licenses/ TERMS AND CONDITIONS",
    "python-licence": "1. This LICENSE AGREEMENT is between the Python Software Foundation",
    "boost-licence": "Boost Software License - Version 1.0 - August 17th, 2003 Permission is hereby granted",
    "gpl-licence": "The GNU General Public License is a free, copyleft license for software and other kinds of works.",
    "zlib-licence": "This software is provided 'as-is', without any express or implied warranty.",
}


def test_what_is_installed_brings_texts_long_enough_for_any_excerpt() -> None:
    texts = excerpt_texts([])
    assert list(texts) == list(OPENINGS)
    for name, text in texts.items():
        assert text.startswith(OPENINGS[name])
        assert text == " ".join(text.split())
        assert FEWEST_WORDS <= len(text.split()) < 6000
    assert excerpt_texts([]) == texts


def test_no_text_holds_another_and_none_a_name_or_year_of_a_licence_holder() -> None:
    texts = excerpt_texts([])
    assert not [(one, other) for one in texts for other in texts if one != other and texts[one] in texts[other]]
    for name in ("mit", "bsd", "apache", "boost", "zlib"):
        assert not re.search(r"(©|\(c\)) *\d{4}", texts[f"{name}-licence"], re.IGNORECASE)


def test_looking_for_texts_prints_nothing() -> None:
    program = "from outctl.tasks.excerpts import excerpt_texts; excerpt_texts([])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_packages_are_pinned_dependencies() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert set(PACKAGES) <= pinned


def test_packages_that_are_not_there_bring_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "PACKAGES", ("no-such-package-at-all", "pydantic"))
    assert list(excerpt_texts([])) == ["zen-of-python", "mit-licence"]


class Packaged:
    """A file as a package lists it."""

    def __init__(self, path: Path) -> None:
        self.path, self.suffix = path, path.suffix

    def __str__(self) -> str:
        return self.path.name

    def locate(self) -> Path:
        return self.path


def test_files_that_cannot_be_read_are_passed_over_and_of_equal_licences_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "PACKAGES", ("first", "second", "third"))
    monkeypatch.setattr(excerpts, "LICENCES", {"own": Licence("To whom", "the end.")})
    (tmp_path / "LICENSE-latin").write_bytes(b"To whom \xff " + LONG.encode() + b"the end.")
    (tmp_path / "LICENSE-short").write_text("To whom it concerns: the end.")
    (tmp_path / "LICENSE-b").write_text(f"Copyright someone\n\nTo  whom\n{LONG} b the end. More.")
    (tmp_path / "LICENSE-c").write_text(f"To whom {LONG} c the end.")
    (tmp_path / "README").write_text(f"To whom {LONG} readme the end.")
    listed: dict[str, Any] = {
        "first": None,
        "second": ["README", "LICENSE-latin", "LICENSE-short", "LICENSE-missing"],
        "third": ["LICENSE-c", "LICENSE-b"],
    }
    monkeypatch.setattr(
        metadata, "files", lambda name: listed[name] and [Packaged(tmp_path / file) for file in listed[name]]
    )
    assert excerpt_texts([])["own-licence"] == f"To whom {LONG}b the end."


def test_own_files_come_last_by_their_names(tmp_path: Path) -> None:
    poem, speech = tmp_path / "poem.txt", tmp_path / "speech"
    poem.write_text("\ufeffÜber\n\n  " + LONG.replace(" ", "\t"), encoding="utf-8")
    speech.write_text(LONG)
    texts = excerpt_texts([speech, poem])
    assert list(texts) == [*OPENINGS, "speech", "poem"]
    assert texts["poem"] == f"Über {LONG}".strip()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": no such file"),
        (b"\xff\xfe" + LONG.encode(), ": not a text in UTF-8 (invalid start byte at byte 0)"),
        (b"", f": has 0 words; an excerpt and its continuation need {FEWEST_WORDS}"),
        (b"word " * (FEWEST_WORDS - 1), f": has {FEWEST_WORDS - 1} words; an excerpt and its continuation need"),
    ],
)
def test_an_own_file_that_is_no_text_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "own.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OutctlError) as caught:
        excerpt_texts([file])
    assert str(caught.value).startswith(f"{file}{message}")


def test_a_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="cannot be read"):
        excerpt_texts([tmp_path])


@pytest.mark.parametrize("name", ["zen-of-python.txt", "mit-licence", "a.txt"])
def test_a_name_that_is_taken_is_one_line(tmp_path: Path, name: str) -> None:
    first, second = tmp_path / "a.md", tmp_path / name
    first.write_text(LONG)
    second.write_text(LONG)
    with pytest.raises(OutctlError, match=f"there is a text named {second.stem!r} already; rename the file"):
        excerpt_texts([first, second])
