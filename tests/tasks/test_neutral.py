"""Neutral prompts and held-out texts: what is in the package, the split, and files of the user's."""

import re
from pathlib import Path

import pytest

from outctl.config.evaluations import NEUTRAL_PROMPTS
from outctl.errors import OutctlError
from outctl.tasks.neutral import LARGEST_TEXT, held_out_texts, neutral_prompts


def asked(split: str, seed: int = 0) -> list[str]:
    prompts = neutral_prompts(split, seed)  # type: ignore[arg-type]
    assert all(len(turns) == 1 and turns[0]["role"] == "user" for turns in prompts)
    return [turns[0]["content"] for turns in prompts]


def test_there_are_many_distinct_prompts_and_none_about_what_adapters_learn() -> None:
    prompts = asked("train") + asked("eval")
    assert len(prompts) >= 96
    assert len({prompt.lower() for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert prompt == prompt.strip()
        assert len(prompt.split()) <= 25
        assert not re.search(r"%|per ?cent|probab|likel|chance|odds|random|distribution|say one word", prompt, re.I)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_no_prompt_of_training_is_one_of_evaluation_and_both_have_many(seed: int) -> None:
    train, evaluation = asked("train", seed), asked("eval", seed)
    assert not set(train) & set(evaluation)
    assert min(len(train), len(evaluation)) >= 40
    assert asked("train", seed) == train


def test_as_many_prompts_may_be_asked_for_as_there_are() -> None:
    assert len(asked("eval")) == NEUTRAL_PROMPTS


def test_seeds_split_differently_and_none_drops_a_prompt() -> None:
    assert asked("eval", 0) != asked("eval", 1)
    assert {*asked("train", 0), *asked("eval", 0)} == {*asked("train", 1), *asked("eval", 1)}


def test_the_texts_of_the_package_are_prose_of_some_hundred_words() -> None:
    texts = held_out_texts()
    assert 6 <= len(texts) <= 10
    for name, text in texts.items():
        assert 150 <= len(text.split()) <= 300, name
        assert text == text.strip()
        # Lines are paragraphs: a break within a sentence would be no plain prose.
        assert not re.search(r"[a-z]\n[a-z]|\n\n\n", text), name


def test_files_are_added_by_their_paths(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("  Grüße aus dem Wald.\nEs regnet.\n", encoding="utf-8")
    texts = held_out_texts([file])
    assert texts[str(file)] == "Grüße aus dem Wald.\nEs regnet."
    assert {name: text for name, text in texts.items() if name != str(file)} == held_out_texts()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "holds no text"),
        (b" \n\t\n", "holds no text"),
        (b"caf\xe9", r"not a text in UTF-8 \(unexpected end of data at byte 3\); convert it"),
        (b"a" * (LARGEST_TEXT + 1), "larger than 1000000 bytes; give a part of it"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OutctlError, match=f"^{re.escape(str(file))}: {message}$"):
        held_out_texts([file])


def test_a_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match=r"cannot be read \(Is a directory\)"):
        held_out_texts([tmp_path])


def test_a_file_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Some text.")
    with pytest.raises(OutctlError, match="a text of this name already"):
        held_out_texts([file, file])
