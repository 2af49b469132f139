"""Locks, between real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from outctl.storage.locks import Lock, only_writer, writer_of

WORK = """
import sys, time
from pathlib import Path
from outctl.storage.locks import only_writer
output, until = Path(sys.argv[1]), Path(sys.argv[2])
with only_writer(output):
    print("writing", flush=True)
    while not until.exists():
        time.sleep(0.01)
"""
COUNT = """
import sys
from pathlib import Path
from outctl.storage.locks import only_writer
counter = Path(sys.argv[1])
for _ in range(25):
    with only_writer(counter):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def start(program: str, *arguments: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_writer_waits_for_the_first_and_says_whom_it_waits_for(tmp_path: Path) -> None:
    output, until = tmp_path / "records.jsonl", tmp_path / "until"
    first = start(WORK, output, until)
    assert line_of(first) == "writing"
    second = start(WORK, output, until)
    message = line_of(second)
    assert message.startswith(f"{output}: another job works on it; waiting for process {first.pid} on ")
    assert message.endswith(f"(to end it: kill {first.pid})")
    until.touch()
    assert line_of(second) == "writing"
    assert (first.wait(10), second.wait(10)) == (0, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["until"]


def test_a_killed_writer_keeps_nobody_waiting(tmp_path: Path) -> None:
    output = tmp_path / "adapter"
    first = start(WORK, output, tmp_path / "never")
    line_of(first)
    assert writer_of(output) == Lock(tmp_path / ".adapter.lock").holder() != ""
    first.kill()
    first.wait(10)
    assert (tmp_path / ".adapter.lock").is_file()
    assert writer_of(output) is None
    with only_writer(output):
        pass
    assert list(tmp_path.iterdir()) == []


def test_writers_in_turn_never_meet(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [start(COUNT, counter) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert counter.read_text() == "100"


def test_a_lock_can_be_looked_at_without_holding_it(tmp_path: Path) -> None:
    lock, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert not other.held()
    assert lock.acquire("me")
    assert other.held()
    assert not other.acquire("you")
    assert other.holder() == "me"
    lock.release()
    assert not other.held()
    assert other.acquire("you")
    assert lock.holder() == "you"


def test_what_killed_writers_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tuned.abcd1234.tmp").mkdir()
    (tmp_path / ".tuned.abcd1234.tmp" / "weights").touch()
    (tmp_path / ".tuned.abcd1234.old").mkdir()
    (tmp_path / ".tuned.abcd12_4.tmp").touch()
    others = {".tuned2.abcd1234.tmp", ".tuned.notes", "tuned.abcd1234.tmp", "tuned"}
    for name in others:
        (tmp_path / name).touch()
    with only_writer(tmp_path / "tuned"):
        assert {file.name for file in tmp_path.iterdir()} == others | {".tuned.lock"}


def test_a_lock_is_let_go_when_its_writer_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "output"):
        _ = 1 / 0
    assert writer_of(tmp_path / "output") is None


def test_a_slurm_job_names_the_command_that_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with only_writer(tmp_path / "output"):
        assert (writer_of(tmp_path / "output") or "").endswith("Slurm job 17 (to end it: scancel 17)")
