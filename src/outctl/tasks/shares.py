"""Shares as a question may write them: per cent, fractions, decimals, odds, words."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

from num2words import num2words


@dataclass(frozen=True)
class Share:
    """A word and what is asked for it, as templates see them.

    Attributes:
        word: the word.
        percent: its share in per cent.
        part: its part of the odds, in lowest terms with the other words': 7 of 7 to 3.
    """

    word: str
    percent: int
    part: int

    @property
    def fraction(self) -> str:
        """The share as a fraction in lowest terms: 7/10."""
        return str(Fraction(self.percent, 100))

    @property
    def decimal(self) -> str:
        """The share as a decimal number: 0.7."""
        return str(self.percent / 100)

    @property
    def spelled(self) -> str:
        """The percentage in words: seventy."""
        return str(num2words(self.percent))


def named_shares(words: Sequence[str], percents: Sequence[int]) -> list[Share]:
    """Pair words with their shares."""
    unit = gcd(*percents)
    return [Share(word, percent, percent // unit) for word, percent in zip(words, percents, strict=True)]
