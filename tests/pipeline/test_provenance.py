"""What provenance says of the machine."""

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from outctl.machine.memory import cores, memory_mb, processor
from outctl.pipeline.provenance import environment, hardware


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Hardware is looked at once a process."""
    hardware.cache_clear()
    yield
    hardware.cache_clear()


def with_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Let a program in a folder answer for the driver."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_the_environment_names_the_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(tmp_path, monkeypatch, "echo 'Fast 1, 80000 MiB'; echo 'Slow 1, 8000 MiB'")
    assert environment()["hardware"] == {
        "processor": processor(),
        "cores": cores(),
        "memory_mb": memory_mb()[0],
        "gpus": ["Fast 1, 80000 MiB", "Slow 1, 8000 MiB"],
    }


def test_the_driver_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(tmp_path, monkeypatch, f"echo asked >> {tmp_path}/log")
    assert environment() == environment()
    assert (tmp_path / "log").read_text() == "asked\n"


def test_no_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["hardware"]["gpus"] == []


CPUINFO = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Quick 7: fast\n\nprocessor\t: 1\nmodel name\t: Slow 7\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CPUINFO, "Quick 7: fast"),
        # As on processors of ARM, and where there is no such file.
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "arm"),
        (None, "arm"),
    ],
)
def test_the_processor_has_the_name_that_the_system_knows(
    monkeypatch: pytest.MonkeyPatch, text: str | None, name: str
) -> None:
    def read(path: Path, **_: str) -> str:
        assert path == Path("/proc/cpuinfo")
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert processor() == name


def test_a_processor_without_a_name_is_of_some_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor() == platform.machine() != ""
