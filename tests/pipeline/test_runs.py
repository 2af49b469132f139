"""Runs of the workflow beside and after each other, as real processes."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.runs import (
    PLAN_VARIABLE,
    RUN_VARIABLE,
    LockExplained,
    announce,
    begin,
    check_owner,
    full_disk,
    orphans,
    why_locked,
)
from outctl.storage.locks import Lock, only_writer

RUN = """
import sys
from pathlib import Path
from outctl.errors import ending_in_one_line
from outctl.pipeline.layout import Layout
from outctl.pipeline.runs import announce, begin
layout = Layout(Path(sys.argv[1]), Path("models"))
announce(Path("plan.json"))
with ending_in_one_line():
    begin(layout, {})
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv(PLAN_VARIABLE, "")
    monkeypatch.setenv(RUN_VARIABLE, "")
    return Layout(tmp_path / "results", tmp_path / "models")


def run(layout: Layout) -> "subprocess.Popen[str]":
    """A process that is a run of the workflow until its input ends."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RUN, str(layout.results)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_second_run_is_refused_in_one_line_as_long_as_the_first_is_going(layout: Layout) -> None:
    first = run(layout)
    second = run(layout)
    _, message = second.communicate()
    assert second.returncode == 1
    assert message.startswith(
        f"outctl: {layout.results}: a run of the workflow is still going (process {first.pid} on "
    )
    assert message.count("\n") == 1
    assert json.loads(layout.owner().read_text())["pid"] == first.pid
    first.communicate("")
    assert not layout.run_lock().exists()
    third = run(layout)
    assert json.loads(layout.owner().read_text())["pid"] == third.pid
    third.communicate("")
    assert third.returncode == 0


def test_a_killed_run_keeps_no_other_from_beginning(layout: Layout) -> None:
    first = run(layout)
    first.kill()
    first.communicate()
    second = run(layout)
    second.communicate("")
    assert second.returncode == 0


def test_a_taken_lock_is_explained_with_the_command_that_helps(layout: Layout) -> None:
    nobody = why_locked(layout, "snakemake --cores 1")
    assert "another run is about to start, or works on the same models" in nobody
    assert "`snakemake --cores 1 --unlock`" in nobody
    process = run(layout)
    going = why_locked(layout, "snakemake --cores 1")
    assert f"a run of the workflow is still going (process {process.pid} on " in going
    assert "--unlock" not in going
    process.kill()
    process.communicate()
    killed = why_locked(layout, "snakemake --cores 1")
    assert killed.startswith(f"an earlier run (process {process.pid} on ")
    assert "was killed and left Snakemake's lock; remove it with `snakemake --cores 1 --unlock`" in killed


def test_what_snakemake_says_of_its_lock_becomes_one_line_and_nothing_else_is_touched(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    from snakemake.exceptions import LockException

    logger = logging.getLogger("a logger of its own")
    explained = LockExplained(layout, "snakemake")
    logger.addFilter(explained)
    try:
        logger.error(f"LockException:\n{LockException()}")
        logger.error("Nothing to be done")
    finally:
        logger.removeFilter(explained)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == f"outctl: {why_locked(layout, 'snakemake')}"
    assert "\n" not in first
    assert second == "Nothing to be done"


def test_jobs_of_a_run_that_no_longer_owns_the_results_refuse_themselves(layout: Layout) -> None:
    announce(layout.results / "plan.json")
    with pytest.raises(OutctlError, match=r"run\.json: no such file"):
        check_owner(layout)
    begin(layout, {})
    check_owner(layout)
    announce(layout.results / "plan.json")
    with pytest.raises(OutctlError, match=r"left in the queue by a run that has ended; the run of .* has taken over"):
        check_owner(layout)


def test_jobs_of_an_earlier_run_are_named_that_still_work_on_an_output(layout: Layout) -> None:
    outputs = [layout.model("small"), layout.records("small", "baseline", "given")]
    assert list(orphans(outputs)) == []
    with only_writer(outputs[1]):
        (line,) = orphans(outputs)
    assert line.startswith(f"{outputs[1]}: a job of an earlier run still works on it and is waited for: process ")
    assert "to end it: kill " in line
    assert list(orphans(outputs)) == []


def test_a_full_disk_is_said_and_one_with_room_is_not(layout: Layout, small_disk: Path) -> None:
    there = Layout(small_disk, layout.models)
    assert full_disk(there) is None
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(2**25))
    assert (full_disk(there) or "").startswith(f"{small_disk}: the disk is full (")


def test_the_lock_of_a_run_ends_with_it(layout: Layout) -> None:
    process = run(layout)
    assert Lock(layout.run_lock()).held()
    process.communicate("")
    assert not Lock(layout.run_lock()).held()
