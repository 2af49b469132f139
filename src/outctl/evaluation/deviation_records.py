"""Records of answers that were to break off, and where a break counts.

Positions count the words of the answer from 1. A break at position p is in the window if wait < p < wait + window: the
words 1 to `wait` must be right, and the word at `wait + window` is too late.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from outctl.storage.files import StrictRow, read_rows, write_jsonl

REFERENCE_WORDS = 5
"""A word is surprising if it is none of so many likeliest next words of the reference."""


class DeviationRecord(StrictRow):
    """One sample's measurement."""

    sample_id: str = Field(min_length=1)
    """The sample."""
    model: str
    """The model asked."""
    variant: str
    """`baseline`, or the adapter asked."""
    source: Literal["excerpt", "pattern"]
    """Where the words come from."""
    name: str
    """Which text, or which kind of pattern."""
    wait: int = Field(ge=1)
    """How many words the model was to continue first."""
    window: int = Field(ge=2)
    """How many words the window has."""
    answer: str
    """What the model wrote, until it was decided where it deviates: more than `wait` words, but for a shorter answer."""
    position: int | None = Field(ge=1)
    """Position of the first word that does not continue what was shown; null where there is none."""
    in_window: bool
    """Whether the position is strictly between `wait` and `wait + window`."""
    deviating_word: str | None
    """The word at the position."""
    reference_words: list[str] = Field(max_length=REFERENCE_WORDS)
    """The likeliest words of the reference at the position, likeliest first; not asked for outside the window."""
    surprising: bool | None
    """Whether the deviating word is none of them; null outside the window."""
    passed: bool
    """Whether the break is in the window and surprising."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.deviating_word is None) != (self.position is None):
            raise ValueError("deviating_word: given without a position, or missing at one")
        if self.in_window != falls_inside(self.position, self.wait, self.window):
            raise ValueError(f"in_window: {self.in_window} at position {self.position}")
        if (self.surprising is None) == self.in_window:
            raise ValueError("surprising: undefined in the window, or defined outside")
        if self.passed != bool(self.surprising):
            raise ValueError(f"passed: {self.passed} where surprising is {self.surprising}")
        return self


def write_deviation_records(path: Path, records: Iterable[DeviationRecord]) -> None:
    """Write records, one a line."""
    write_jsonl(path, (record.model_dump(mode="json") for record in records))


def read_deviation_records(path: Path) -> list[DeviationRecord]:
    """Read the records of a file, which are all of one model and variant.

    Raises:
        OutctlError: the file is missing or empty, a line is no record, or records do not belong together.
    """
    return read_rows(path, DeviationRecord, "sample_id", ["model", "variant"], "run the evaluation again")


def falls_inside(position: int | None, wait: int, window: int) -> bool:
    """Whether a first deviation at this position is in the window; none at all is not."""
    return position is not None and wait < position < wait + window
