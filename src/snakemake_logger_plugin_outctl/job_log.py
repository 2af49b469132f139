"""What the log file of a job says: how far the job is, and what it said last."""

import os
import re
from pathlib import Path

TAIL = 8192
"""Bytes at the end of a log that are looked at."""
LAST_LINES = 20
"""Lines of a failed job's log that are shown."""
PROGRESS = re.compile(r"^(\d+) of (\d+) (\w+)$", re.MULTILINE)
"""A line that says how far a job is, as `outctl.cli.app.shown_progress` writes it."""
NOTE = re.compile(r"^outctl: note: .*$", re.MULTILINE)
"""A line that a run is to show, as `outctl.errors.NOTE` begins it."""
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What colours text or moves the cursor."""


def tail(file: Path) -> str:
    """The end of a text file, from the beginning of a line unless a line is longer; empty where there is no file."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] or text if size > TAIL else text


def last_lines(file: Path) -> list[str]:
    """The last lines of a log without those on progress, and without characters that move the cursor or colour."""
    # What a carriage return hides on a terminal is hidden here too.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in ESCAPES.sub("", tail(file)).split("\n")]
    said = [line.expandtabs() for line in lines if line.strip() and not PROGRESS.fullmatch(line)]
    return ["".join(character for character in line if character.isprintable()) for line in said[-LAST_LINES:]]


def progress(file: Path) -> tuple[int, int, str] | None:
    """How much is done, of how much, and of what; None where the log does not say so."""
    found = PROGRESS.findall(tail(file))
    return (int(found[-1][0]), int(found[-1][1]), found[-1][2]) if found else None


def notes(file: Path) -> list[str]:
    """The lines of a log that a run is to show."""
    return ["".join(filter(str.isprintable, line)) for line in NOTE.findall(tail(file))]
