"""Messages are one line, whatever stands in them; what the machine refuses is said in one too, and the refusals are real."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import save_file

from breakage import REPEATABLE, TEXTS
from outctl.errors import LONGEST, OutctlError, ending_in_one_line, first_line, of_the_machine, printable
from outctl.storage.files import write_json

MUCH = 2**25


@REPEATABLE
@given(TEXTS)
def test_a_message_is_one_printable_line_whatever_stands_in_it(text: str):
    message = str(OutctlError(f"file.yaml: key: {text} is wrong; correct it"))
    assert message.isprintable()
    assert message.startswith("file.yaml: key: ")
    assert message.endswith(" is wrong; correct it")
    assert len(message) < LONGEST + 1000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🙂", "plain é 🙂"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_not_show_is_escaped(text: str, shown: str):
    assert printable(text) == shown


def test_first_line_of_an_exception():
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(ValueError()) == "ValueError"


def test_a_full_disk_is_one_line_whichever_library_finds_it_full(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(24 * 2**20 - 2**17))
    numbers = torch.zeros(MUCH // 4)
    attempts = {
        "json": lambda: write_json(small_disk / "records.json", "a" * MUCH),
        "safetensors": lambda: save_file({"numbers": numbers}, small_disk / "weights.safetensors"),
        "torch": lambda: torch.save(numbers, small_disk / "state.pt"),
        "many small writes of torch": lambda: torch.save(
            [numbers[:1000].clone() for _ in range(100)], small_disk / "s.pt"
        ),
    }
    for name, attempt in attempts.items():
        with pytest.raises(Exception) as refused:  # noqa: PT011 - each library has its own
            attempt()
        line = of_the_machine(refused.value)
        assert line is not None, name
        assert line.startswith("the disk is full or its quota is used up ("), name
        assert "\n" not in line
    assert [file.name for file in small_disk.glob(".*")] == []


def test_a_full_disk_is_said_with_the_file(small_disk: Path) -> None:
    with pytest.raises(OutctlError, match="No space left on device") as refused:
        write_json(small_disk / "records.json", "a" * MUCH)
    assert f"{small_disk}/records.json" in (of_the_machine(refused.value) or "")


def test_a_missing_permission_is_one_line() -> None:
    line = of_the_machine(PermissionError(13, "Permission denied", "results/specs"))
    assert line == (
        "not allowed to write or read here ([Errno 13] Permission denied: 'results/specs'); correct the permissions and "
        "start the workflow again"
    )


def test_too_little_memory_is_one_line() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert (of_the_machine(refused.value) or "").startswith("out of memory (")
    assert (of_the_machine(MemoryError()) or "").startswith("out of memory (")


@pytest.mark.parametrize("error", [ValueError("a mistake of the program"), KeyError("key"), FileNotFoundError(2, "x")])
def test_the_programs_own_mistakes_are_nobody_elses(error: Exception) -> None:
    assert of_the_machine(error) is None
    with pytest.raises(type(error)), ending_in_one_line():
        raise error


@pytest.mark.parametrize("error", [OutctlError("what is wrong"), PermissionError(13, "what is wrong")])
def test_what_is_no_mistake_of_the_programs_ends_it_with_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, ending_in_one_line():
        raise error
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("outctl: ")
    assert err.count("\n") == 1
