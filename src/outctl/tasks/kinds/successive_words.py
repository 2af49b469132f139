"""The question gives a distribution for each of two successive words."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from outctl.config.cases import Draw, Drawn, Split
from outctl.config.registries import CASE_KINDS
from outctl.tasks.drawing import draw_percents, draw_words
from outctl.tasks.shares import named_shares
from outctl.tasks.splits import words_of_split
from outctl.tasks.words import common_words

WORDS = 4
"""Words that a sample draws: two for each place."""


@CASE_KINDS.register("successive_words")
class SuccessiveWords(Split):
    """The question gives a distribution for each of two successive words; the answer is held against both at once."""

    kind: Literal["successive_words"]
    """How this case asks."""
    vocabulary_size: int = Field(default=6000, ge=20, le=50_000)
    """How many of the most common English words samples draw from, as in `given_words`."""
    eval_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the vocabulary that only evaluation uses."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(2)
        return self

    def draw(self, draw: Draw) -> Iterator[Drawn]:
        """Draw two words and their shares for each place."""
        every = common_words(self.vocabulary_size)
        vocabulary = words_of_split(every, self.eval_fraction, WORDS, draw.seed, draw.split)
        for seed in draw.seeds:
            words = draw_words(draw.random, vocabulary, WORDS)
            percents = [draw_percents(draw.random, self.percents, 2) for _ in range(2)]
            first, second = (named_shares(words[2 * i : 2 * i + 2], percents[i]) for i in range(2))
            pairs = list(product(first, second))
            # The two are asked for independently, so a pair's share is the product of theirs.
            target = [one.percent * other.percent / 10_000 for one, other in pairs]
            asked = [f"{one.word} {other.word}" for one, other in pairs]
            yield Drawn(seed, target, {"first": first, "second": second}, asked)

    def variables(self, text: str) -> dict[str, Any]:
        """Two words with their shares for each place."""
        two = named_shares(["ark", "atom"], [70, 30])
        return {"first": two, "second": two}

    @property
    def set_aside(self) -> tuple[str, float]:
        """Common words."""
        return "common", self.eval_fraction
