"""The one exception that reaches a user as a single line, and the machine's errors put into one."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST = 1500
"""Characters of a message; what is longer loses its middle, since file and key stand in front and the advice at the end."""

NOTE = "outctl: note: "
"""What a line of a job's log begins with that the run is to show."""


class OutctlError(Exception):
    """A mistake of the input, not of the program: the command line prints its text alone and exits with 1.

    The text names what is wrong, where (file, key), and what to do about it. Whatever names and values stand in it, it is
    one printable line of bounded length.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            text = f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 3 :]}"
        super().__init__(printable(text))


class KeyedError(OutctlError):
    """A mistake in the configuration, found where the file is not known.

    Attributes:
        key: where it stands, as names and positions from the top.
    """

    def __init__(self, key: tuple[str | int, ...], message: str) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {message}")
        self.key = key


def printable(text: str) -> str:
    """Text with escapes for line breaks, control characters and whatever else a terminal does not show as it is."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """What another library's exception says, cut to one line; its type where it says nothing."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__


FULL = (
    *("os error 28", "os error 122", "No space left on device", "Disk quota exceeded"),
    # torch's, where its file is not as long as what it has written.
    *("PytorchStreamWriter failed writing", "unexpected pos"),
)
"""How libraries say in words that a disk is full, or that its quota is used up."""


def of_the_machine(error: BaseException) -> str | None:
    """One line for an error that the machine made: a full disk, too little memory. None for any other."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(words in text for words in FULL):
        return f"the disk is full or its quota is used up ({text}); make room and start the workflow again"
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to write or read here ({text}); correct the permissions and start the workflow again"
    # torch's error for CUDA, and the allocator's message on CPUs.
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"out of memory ({text}); lower evaluation.tokens_per_pass or batch_size, or take a larger machine"
    return None


@contextmanager
def ending_in_one_line(last_words: Callable[[], None] = lambda: None) -> Iterator[None]:
    """End the program with one line where what goes wrong in this block is no fault of the program's.

    Args:
        last_words: called before that line, to have whatever else is being said come before it.
    """
    try:
        yield
    except Exception as error:
        line = str(error) if isinstance(error, OutctlError) else of_the_machine(error)
        if line is None:
            raise
        last_words()
        print(f"outctl: {line}", file=sys.stderr)
        raise SystemExit(1) from None
