import pytest
from hypothesis import given

from breakage import REPEATABLE, TEXTS
from outctl.errors import LONGEST, OutctlError, first_line, printable


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
