"""The question names the words and their shares."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from outctl.config.cases import Draw, Drawn, Split
from outctl.config.names import WordsOrFile
from outctl.config.registries import CASE_KINDS, VOCABULARIES, FromVocabulary
from outctl.tasks.drawing import draw_percents, draw_words
from outctl.tasks.shares import named_shares
from outctl.tasks.splits import words_of_split
from outctl.tasks.words import common_words


@CASE_KINDS.register("given_words")
class GivenWords(Split):
    """The question names the words and their shares."""

    kind: Literal["given_words"]
    """How this case asks."""
    num_words: int = Field(default=2, ge=2, le=8)
    """Number of words a sample asks for."""
    vocabulary: Annotated[WordsOrFile, FromVocabulary] = "common"
    """What the words are: `common` English words, `phrases` of two of them, `letters`, `digits`, `symbols`, first `names`;
    or a UTF-8 file with a word or phrase a line, whose name ends in `.txt`."""
    vocabulary_size: int = Field(default=6000, ge=20, le=50_000)
    """How many of the most common English words samples draw from; function words are left out."""
    eval_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the vocabulary that only evaluation uses."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(self.num_words)
        return self

    @property
    def _parts(self) -> int:
        """How many drawn words make up one that is asked for."""
        return VOCABULARIES[self.vocabulary].parts if self.vocabulary in VOCABULARIES else 1

    def draw(self, draw: Draw) -> Iterator[Drawn]:
        """Draw words and shares."""
        every = common_words(self.vocabulary_size) if draw.listed is None else draw.listed
        vocabulary = self._own(every, draw.seed, draw.split)
        for seed in draw.seeds:
            parts = draw_words(draw.random, vocabulary, self._parts * self.num_words)
            words = [" ".join(own) for own in zip(*[iter(parts)] * self._parts, strict=True)]
            percents = draw_percents(draw.random, self.percents, self.num_words)
            target = [percent / 100 for percent in percents]
            yield Drawn(seed, target, {"shares": named_shares(words, percents)}, words)

    def variables(self, text: str) -> dict[str, Any]:
        """Words with their shares."""
        return {"shares": named_shares(["ark"] * self.num_words, [50] * self.num_words)}

    @property
    def draws_from(self) -> str:
        """Its vocabulary."""
        return self.vocabulary

    def check_words(self, listed: tuple[str, ...], seed: int, split: str) -> None:
        """Make sure that a split has enough of the listed words."""
        self._own(listed, seed, split)

    def _own(self, words: tuple[str, ...], seed: int, split: str) -> tuple[str, ...]:
        return words_of_split(words, self.eval_fraction, self._parts * self.num_words, seed, split)

    @property
    def set_aside(self) -> tuple[str, float]:
        """Single words, phrases and a user's own words may be the same; letters and names are words apart."""
        apart = self.vocabulary in VOCABULARIES and VOCABULARIES[self.vocabulary].apart
        return self.vocabulary if apart else "common", self.eval_fraction

    def as_drawn(self, split: str, listed: bool) -> Self:
        """Without where listed words were read from, and how many common ones there are."""
        own = super().as_drawn(split, listed)
        unused = ("vocabulary", "vocabulary_size") if listed else ()
        return own.model_copy(update={name: type(self).model_fields[name].default for name in unused})
