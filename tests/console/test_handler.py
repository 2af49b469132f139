import os
import pty

import pytest

from snakemake_logger_plugin_outctl.handler import is_capable


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
