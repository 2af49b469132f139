"""As `random_words`, with answered examples before the question."""

from collections.abc import Iterator
from random import Random
from typing import Any, ClassVar, Literal

from pydantic import Field

from outctl.config.registries import CASE_KINDS
from outctl.errors import KeyedError
from outctl.tasks.drawing import draw_percents, draw_seeds
from outctl.tasks.own_words import OwnWords
from outctl.tasks.words import rare_words


@CASE_KINDS.register("icl_random_words")
class IclRandomWords(OwnWords):
    """As `random_words`, with answered examples before the question."""

    needs: ClassVar[dict[str, str]] = {"answer": "which answered examples need"}

    kind: Literal["icl_random_words"]
    """How this case asks."""
    max_zipf: float = Field(default=3.5, gt=0.0, le=8.0)
    """Rarity bar, as in `random_words`; the examples' words meet it."""
    num_examples: int = Field(default=4, ge=1, le=64)
    """Number of answered examples before the question, the same for all samples of the case."""

    @property
    def examples_drawn(self) -> int:
        """How many answered examples stand before the question."""
        return self.num_examples

    def example_answers(self, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Seeds and shares, each answered with one rare word; the seeds belong to training."""
        random = Random(f"{seed}/examples")
        rare = rare_words(self.max_zipf)
        if len(rare) < self.num_examples:
            raise KeyedError(("num_examples",), f"only {len(rare)} words are so rare")
        words = random.sample(rare, self.num_examples)
        for word, prompt_seed in zip(words, draw_seeds(random, seed, "train"), strict=False):
            percents = sorted(draw_percents(random, self.percents, 2), reverse=True)
            asked = {"seed": prompt_seed, "percents": percents}
            yield asked, {"word": word, **asked}

    def variables(self, text: str) -> dict[str, Any]:
        """Seed and shares; of an example's answer also the word."""
        return super().variables(text) | ({"word": "ark"} if text == "answer" else {})
