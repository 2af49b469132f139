"""Samples: the questions that every model answers alike."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from outctl.storage.files import StrictRow, read_rows, write_jsonl


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


ROUNDING = 1e-6
"""How far shares may be from summing to 1."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Sample(StrictRow):
    """One question."""

    sample_id: str = Field(min_length=1)
    """Unique within an experiment: case, split and number."""
    case: str
    """The case it belongs to."""
    messages: list[Message] = Field(min_length=1)
    """The conversation before the model's turn."""
    words: list[Annotated[str, Field(min_length=1)]] | None
    """The words asked for, in the order of `target`; none where the model picks them."""
    answers: list[Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]] | None = None
    """Where several answers count for one of the words: all that do, for each of them."""
    target: list[Share] = Field(min_length=2)
    """The share asked for each word, summing to 1; largest first where the model picks the words."""
    at_most: bool = False
    """Whether the first share is a limit, under which any distribution over the words is as asked."""
    free_messages: list[Message] | None = None
    """The same question without the limit, to see what share the first word takes by itself."""
    tolerance: float = Field(gt=0.0, lt=1.0)
    """Largest total variation distance that counts as within tolerance."""
    seed: int
    """The seed that belongs to this sample, named in the question where the model picks the words."""
    max_zipf: float | None = None
    """Rarity bar for words that the model picks: their largest Zipf frequency."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(sum(self.target) - 1.0) > ROUNDING:
            raise ValueError(f"target: the shares sum to {sum(self.target)}, not to 1")
        if self.words is not None:
            if len(self.words) != len(self.target):
                raise ValueError(f"words: {len(self.words)} of them for {len(self.target)} shares")
            if len(set(self.words)) < len(self.words):
                raise ValueError("words: one of them is given twice")
        if self.answers is not None and len(self.answers) != len(self.words or []):
            raise ValueError(f"answers: {len(self.answers)} of them for {len(self.words or [])} words")
        return self

    @property
    def outcomes(self) -> list[list[str]]:
        """For each word, the answers that count for it; none where the model picks the words."""
        return self.answers or [[word] for word in self.words or []]

    @property
    def subjects(self) -> set[str]:
        """What other questions may share with it, and be missed alike.

        Its words, taken apart where one has several; or, where several answers count for a word, the topic that all of them make
        up. Nothing where the model picks the words.
        """
        if self.answers:
            return {" | ".join(sorted(answer for own in self.answers for answer in own))}
        return {part.casefold() for word in self.words or [] for part in word.split()}


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples, one a line."""
    write_jsonl(path, (sample.model_dump(mode="json") for sample in samples))


def read_samples(path: Path) -> list[Sample]:
    """Read the samples of a file, which are all of one case.

    Raises:
        OutctlError: the file is missing or empty, a line is no sample, or samples do not belong together.
    """
    return read_rows(path, Sample, "sample_id", ["case"], "make the samples again")
