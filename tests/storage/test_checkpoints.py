import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outctl.storage.checkpoints import SEAL, Stop, is_sealed, newest_sealed, seal


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "state").mkdir(parents=True)
    (path / "weights").write_bytes(bytes(1000))
    (path / "state" / "random").write_text("numbers")
    return path


def test_a_sealed_directory_is_one_to_whose_files_nothing_happened(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    assert not is_sealed(path)
    seal(path)
    assert is_sealed(path)
    (path / "later").touch()
    assert is_sealed(path)


def test_a_directory_is_on_the_disk_before_it_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flush = checkpoint(tmp_path, 1), os.fsync
    flushed: list[tuple[int, bool]] = []

    def watched(handle: int) -> None:
        flushed.append((os.fstat(handle).st_ino, (path / SEAL).exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", watched)
    seal(path)
    for name in ("weights", "state/random"):
        assert ((path / name).stat().st_ino, False) in flushed


@pytest.mark.parametrize("name", ["weights", "state/random", SEAL])
def test_a_truncated_file_breaks_the_seal(tmp_path: Path, name: str) -> None:
    path = checkpoint(tmp_path, 1)
    seal(path)
    os.truncate(path / name, (path / name).stat().st_size // 2)
    assert not is_sealed(path)


def test_a_missing_file_breaks_the_seal(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    seal(path)
    (path / "weights").unlink()
    assert not is_sealed(path)


def test_the_newest_checkpoint_by_number_that_is_whole_is_found_and_newer_ones_go(tmp_path: Path) -> None:
    for step in (9, 90, 100, 110):
        seal(checkpoint(tmp_path, step))
    (tmp_path / "checkpoint-100" / "weights").unlink()
    (tmp_path / "checkpoint-110" / SEAL).unlink()
    (tmp_path / "finished").mkdir()
    assert newest_sealed(tmp_path, "checkpoint-*") == tmp_path / "checkpoint-90"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-9", "checkpoint-90", "finished"}


def test_without_a_whole_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert newest_sealed(tmp_path / "nowhere", "checkpoint-*") is None
    checkpoint(tmp_path, 1)
    assert newest_sealed(tmp_path, "checkpoint-*") is None


def test_a_request_to_stop_is_heard_once_and_the_second_is_not_held_up() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        stop = Stop()
        with stop.listening():
            assert not stop.requested
            signal.raise_signal(signal.SIGTERM)
            assert stop.requested
            assert heard == []
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert len(heard) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("where", ["", "try:", "import atexit\n@atexit.register\ndef last():"])
def test_ending_at_once_is_one_line_wherever_it_strikes(where: str) -> None:
    head = "import signal\nfrom outctl.storage.checkpoints import end_at_once\nsignal.signal(signal.SIGTERM, end_at_once)\n"
    tail = "\nexcept BaseException:\n    pass" if where == "try:" else ""
    program = f"{head}{where}\n{'    ' if where else ''}signal.raise_signal(signal.SIGTERM){tail}\n"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "outctl: asked to stop; what is done is kept, and the next start goes on from there\n"
