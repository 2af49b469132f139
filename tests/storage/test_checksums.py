import hashlib
import os
from pathlib import Path

import pytest

from outctl.storage.checksums import Checksums


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    return path


def test_a_checksum_is_that_of_the_content(tmp_path: Path, file: Path) -> None:
    assert Checksums(tmp_path / "memory").of(file) == sha256(b"one")


def test_a_file_is_read_again_only_after_a_change(tmp_path: Path, file: Path) -> None:
    memory = tmp_path / "memory"
    checksums = Checksums(memory)
    checksums.of(file)
    checksums.save()
    # Another checksum in the memory shows whether the memory or the file was read.
    memory.write_text(memory.read_text().replace(sha256(b"one"), sha256(b"remembered")))
    assert Checksums(memory).of(file) == sha256(b"remembered")
    file.touch()
    assert Checksums(memory).of(file) == sha256(b"one")


def test_no_change_escapes_that_hides_behind_the_old_size_and_time(tmp_path: Path, file: Path) -> None:
    checksums = Checksums(tmp_path / "memory")
    checksums.of(file)
    times = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert checksums.of(file) == sha256(b"two")
    other = tmp_path / "other"
    other.write_bytes(b"six")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert checksums.of(file) == sha256(b"six")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"weights": 1}', '{"weights": [[1], 2, 3]}', "\udcff"])
def test_a_broken_memory_is_begun_anew(tmp_path: Path, file: Path, content: str) -> None:
    memory = tmp_path / "memory"
    memory.write_bytes(content.encode(errors="surrogateescape"))
    checksums = Checksums(memory)
    assert checksums.of(file) == sha256(b"one")
    checksums.save()
    assert Checksums(memory).of(file) == sha256(b"one")


def test_the_memory_is_written_only_for_news_and_forgets_what_is_gone(tmp_path: Path, file: Path) -> None:
    memory = tmp_path / "below" / "memory"
    checksums = Checksums(memory)
    checksums.save()
    assert not memory.exists()
    checksums.of(file)
    checksums.save()
    before = memory.stat()
    again = Checksums(memory)
    again.of(file)
    again.save()
    assert memory.stat() == before
    file.unlink()
    other = tmp_path / "other"
    other.touch()
    again.of(other)
    again.save()
    assert "weights" not in memory.read_text()
