"""The question gives a seed, and the model picks two words of its own."""

from typing import Literal, Self

from outctl.config.registries import CASE_KINDS
from outctl.tasks.own_words import OwnWords


@CASE_KINDS.register("random_words")
class RandomWords(OwnWords):
    """The question gives a seed, and the model picks two words of its own."""

    kind: Literal["random_words"]
    """How this case asks."""

    def as_drawn(self, split: str, listed: bool) -> Self:
        """In training also without the rarity bar, by which only answers are judged."""
        own = super().as_drawn(split, listed)
        bar = {"max_zipf": type(self).model_fields["max_zipf"].default} if split == "train" else {}
        return own.model_copy(update=bar)
