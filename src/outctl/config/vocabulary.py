"""What a vocabulary is; the vocabularies themselves lie in `outctl.tasks.vocabularies`."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """What words are drawn from.

    Attributes:
        entries: gives the words or phrases; without it they are common English words, as many as the case says.
        parts: how many common words make up an entry.
        apart: whether no entry is a common English word. Cases whose vocabularies may share words must set aside the same
            share of them for evaluation.

    Raises:
        ValueError: listed entries are said to consist of parts.
    """

    entries: Callable[[], tuple[str, ...]] | None = None
    parts: int = 1
    apart: bool = False

    def __post_init__(self) -> None:
        if self.entries and self.parts != 1:
            raise ValueError("only common words are put together from parts; list whole entries")
