"""Records: what was measured for one sample by one model and variant."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from outctl.storage.files import StrictRow, read_rows, write_jsonl

Progress = Callable[[int, int], None]
"""Told how many samples are done, of how many."""
ROUNDING = 1e-3
"""How far a sum of probabilities that a model computes in float32 may be from what it should be."""
Share = Annotated[float, Field(ge=0.0, le=1.0 + ROUNDING)]


class TopToken(StrictRow):
    """One of the likeliest first tokens of an answer."""

    text: str
    """The token as text."""
    probability: Share
    """Its probability."""


class Record(StrictRow):
    """One sample's measurement. Undefined numbers are null."""

    sample_id: str = Field(min_length=1)
    """The sample."""
    case: str
    """Its case."""
    model: str
    """The model asked."""
    variant: str
    """`baseline`, or the adapter asked."""
    words: list[Annotated[str, Field(min_length=1)]]
    """The words asked for; or the likeliest words of the model itself, likeliest first."""
    target: list[Share] = Field(min_length=2)
    """The share asked for each word."""
    tolerance: float = Field(gt=0.0, lt=1.0)
    """Largest TVD within tolerance."""
    probabilities: list[Share]
    """Probability that the answer is each word, in their order."""
    other_mass: Share
    """Probability of any other answer."""
    tvd: Share
    """Total variation distance over the words and *anything else*."""
    within_tolerance: bool
    """Whether `tvd` is at most the tolerance and, where the model picked the words, they are valid."""
    conditional_tvd: Share | None
    """Total variation distance after division by the words' mass; null where they have none."""
    tvd_sad: Share | None
    """Distance by the published rule; null where the rule does not apply."""
    within_tolerance_sad: bool | None
    """Whether the published rule passes the sample; null where it does not apply."""
    words_valid: bool | None = None
    """Where the model picked the words: whether they are distinct English words as rare as asked; null elsewhere."""
    unresolved_mass: Share | None = None
    """Where the model picked the words: mass of unfinished words that were not followed to their end; null elsewhere."""
    search_complete: bool | None = None
    """Where the model picked the words: whether they are proven to be its likeliest; null elsewhere."""
    unread_spellings_bound: Share | None = None
    """The most that all words' probabilities, and so `tvd`, can differ from those of the text alone: mass of tokens with which
    the words can be spelt otherwise than the tokenizer splits them."""
    at_most: bool = False
    """Whether the first share is a limit; `tvd` is then the distance to the nearest distribution under it."""
    free_share: Share | None = None
    """Where the first share is a limit: what share of the words' mass the first word takes when none is asked for."""
    top_tokens: list[TopToken]
    """The likeliest first tokens, likeliest first."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(sum(self.target) - 1.0) > ROUNDING:
            raise ValueError(f"target: the shares sum to {sum(self.target)}, not to 1")
        for key, values in (("words", self.words), ("probabilities", self.probabilities)):
            if len(values) != len(self.target):
                raise ValueError(f"{key}: {len(values)} of them for {len(self.target)} shares")
        if abs(sum(self.probabilities) + self.other_mass - 1.0) > ROUNDING:
            total = sum(self.probabilities) + self.other_mass
            raise ValueError(f"probabilities: with other_mass they sum to {total}, not to 1")
        return self


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line."""
    write_jsonl(path, (record.model_dump(mode="json") for record in records))


def read_records(path: Path) -> list[Record]:
    """Read the records of a file, which are all of one model, variant and case.

    Raises:
        OutctlError: the file is missing or empty, a line is no record, or records do not belong together.
    """
    return read_rows(path, Record, "sample_id", ["model", "variant", "case"], "run the evaluation again")
