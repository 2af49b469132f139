import logging
import os
import pty

import pytest
from snakemake.settings.types import OutputSettings

from snakemake_logger_plugin_outctl.handler import LogHandler, is_capable


@pytest.mark.parametrize(
    ("environment", "capable"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_only_a_terminal_that_can_move_its_cursor_gets_a_display(monkeypatch, environment, capable):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    primary, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as stream:
        assert is_capable(stream) is capable
    os.close(primary)


def test_a_pipe_gets_none(monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with (tmp_path / "file").open("w") as stream:
        assert not is_capable(stream)


def in_a_pipe():
    return LogHandler(OutputSettings(nocolor=True), None)


def test_what_earlier_runs_tell_is_said_with_what_they_do_not_tell(capsys):
    known = {1: ("finetune/a", 60.0, None), 2: ("evaluate/a", None, "a/tuned"), 3: ("make_samples/None", 0.0, None)}
    in_a_pipe().emit(logging.makeLogRecord({"msg": "", "expected": known, "rerun": ["snakemake"]}))
    assert capsys.readouterr().err == "by earlier runs about 1 min, without 1 job of unknown length\n"
