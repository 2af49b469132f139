"""What the kinds of case have in common in which the model picks two words of its own."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from outctl.config.cases import Draw, Drawn, Split
from outctl.tasks.drawing import draw_percents


class OwnWords(Split):
    """What the cases have in common in which the model picks two words of its own."""

    picks_words: ClassVar[bool] = True

    max_zipf: float = Field(default=3.5, gt=0.0, le=8.0)
    """Rarity bar: the largest Zipf frequency (log10 of occurrences in a billion words) of a word that counts as rare."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(2)
        return self

    def draw(self, draw: Draw) -> Iterator[Drawn]:
        """Draw a seed and two shares."""
        for seed in draw.seeds:
            percents = sorted(draw_percents(draw.random, self.percents, 2), reverse=True)
            target = [percent / 100 for percent in percents]
            yield Drawn(seed, target, {"seed": seed, "percents": percents}, max_zipf=self.max_zipf)

    def variables(self, text: str) -> dict[str, Any]:
        """Seed and shares."""
        return {"seed": 1, "percents": [70, 30]}
