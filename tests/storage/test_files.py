import hashlib
import json
import math
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outctl.errors import OutctlError
from outctl.storage.files import (
    read_json,
    read_jsonl,
    sha256_of,
    to_json,
    whole_directory,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing a file beyond `size` bytes fails half way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_file_is_written_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert names(path.parent) == ["file.txt"]


def test_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"a long first content")
    write_bytes(path, b"short")
    assert path.read_bytes() == b"short"


def test_write_that_fails_half_way_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with file_size_limit(4096), pytest.raises(OutctlError, match=r"file: cannot be written: .*large"):
        write_bytes(path, b"x" * 1_000_000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_write_that_cannot_take_its_place_leaves_no_temporary_file(tmp_path):
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OutctlError, match=r"taken: cannot be written: .*directory"):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == ["taken"]
    assert names(tmp_path / "taken") == ["inside"]


def broken_rows() -> Iterator[int]:
    yield 1
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda path: write_jsonl(path, broken_rows()), KeyboardInterrupt),
        (lambda path: write_jsonl(path, [1, math.nan]), ValueError),
        (lambda path: write_jsonl(path, [{"a": math.inf}]), ValueError),
        (lambda path: write_json(path, {"a": [math.nan]}), ValueError),
        (lambda path: write_json(path, -math.inf), ValueError),
        (lambda path: write_json(path, {"a": object()}), TypeError),
        (lambda path: write_text(path, "\ud800"), UnicodeEncodeError),
    ],
    ids=["interrupt", "nan in a row", "infinity in a row", "nan", "infinity", "no JSON", "no text"],
)
def test_content_that_cannot_be_written_leaves_the_old_file_alone(
    tmp_path, write: Callable[[Path], None], error: type[BaseException]
):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error):
        write(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("mask", "file", "directory"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0, 0o666, 0o777)]
)
def test_permissions_follow_the_umask(tmp_path, mask, file, directory):
    with umask(mask):
        write_text(tmp_path / "file", "text")
        with whole_directory(tmp_path / "directory") as temporary:
            (temporary / "nested").mkdir()
            (temporary / "nested" / "file").write_text("text")
            (temporary / "nested" / "file").chmod(0o600)
        assert os.umask(mask) == mask
    assert mode(tmp_path / "file") == file
    assert mode(tmp_path / "directory") == directory
    assert mode(tmp_path / "directory" / "nested") == directory
    assert mode(tmp_path / "directory" / "nested" / "file") == file


def test_directory_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "parent" / "directory"
    with whole_directory(path) as temporary:
        (temporary / "file").write_text("text")
        assert not path.exists()
    assert (path / "file").read_text() == "text"
    assert names(path.parent) == ["directory"]


def test_directory_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "directory"
    (path / "nested").mkdir(parents=True)
    (path / "nested" / "outdated").write_text("old")
    with whole_directory(path) as temporary:
        (temporary / "file").write_text("new")
        assert (path / "nested" / "outdated").read_text() == "old"
    assert names(path) == ["file"]
    assert names(tmp_path) == ["directory"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_directory_whose_block_fails_stays_as_it_was(tmp_path, error, existing):
    path = tmp_path / "directory"
    if existing:
        path.mkdir()
        (path / "file").write_text("old")

    def fail() -> None:
        with whole_directory(path) as temporary:
            (temporary / "file").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.exists() == existing
    assert names(tmp_path) == (["directory"] if existing else [])
    assert not existing or (path / "file").read_text() == "old"


def test_json_is_sorted_readable_and_free_of_nan():
    assert to_json({"b": 1, "a": "é"}) == '{\n  "a": "é",\n  "b": 1\n}'
    assert to_json({"b": 1, "a": 2}, indent=None) == '{"a": 2, "b": 1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json([math.nan])


def test_json_file_ends_with_a_line_break_and_reads_back(tmp_path):
    value = {"a": [1, 2.5, None, True, "é"]}
    write_json(tmp_path / "file.json", value)
    assert (tmp_path / "file.json").read_text().endswith("}\n")
    assert read_json(tmp_path / "file.json") == value


VALUES = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES)))
@example([{"text": "a\u2028b"}, {"text": "a\x85b"}, {"text": "a\x0bb\x1cc\r\n"}])
def test_json_lines_read_back_whatever_they_hold(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_jsonl(path, rows)
    assert list(read_jsonl(path)) == rows


def test_json_lines_keep_the_order_of_keys_and_rows(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"b": 1, "a": 2}, {"a": 3}])
    assert (tmp_path / "rows.jsonl").read_text() == '{"b": 1, "a": 2}\n{"a": 3}\n'


@pytest.mark.parametrize(
    ("content", "line"),
    [(b'{"a": 1}\n{"a": \n', 2), (b"{}\n\n{}\n", 2), (b"nothing", 1), (b'{}\n{}\n{"a": 1}{"b": 2}\n', 3)],
)
def test_broken_line_is_named(tmp_path, content, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    rows = read_jsonl(path)
    assert len([next(rows) for _ in range(line - 1)]) == line - 1
    with pytest.raises(OutctlError) as caught:
        next(rows)
    assert str(caught.value).startswith(f"{path} line {line}: not valid JSON (")
    assert "\n" not in str(caught.value)


def test_interrupted_last_line_is_an_error_not_a_shorter_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"value": number} for number in range(3)])
    path.write_text(path.read_text()[:-4])
    with pytest.raises(OutctlError, match="line 3"):
        list(read_jsonl(path))


@pytest.mark.parametrize("read", [read_json, lambda path: list(read_jsonl(path))], ids=["json", "lines"])
@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{"])
def test_missing_undecodable_and_broken_files_are_named(tmp_path, read, content):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OutctlError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert ("no such file" in text) == (content is None)
    assert "\n" not in text


def test_checksum(tmp_path):
    path = tmp_path / "file"
    content = bytes(range(256)) * 10_000
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_reader_never_sees_part_of_a_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"version": 0})
    with path.open() as reader:
        write_json(path, {"version": 1})
        assert json.load(reader) == {"version": 0}
    assert read_json(path) == {"version": 1}
