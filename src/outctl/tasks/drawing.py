"""What kinds of case draw alike: shares, prompt seeds, words."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from random import Random

from outctl.config.cases import Percents
from outctl.errors import OutctlError
from outctl.tasks.splits import belongs_to_eval
from outctl.tasks.words import starts_another

EVAL_SEEDS = 0.125
"""Share of all prompt seeds that only evaluation uses."""
TRIES = 10_000
"""Draws of a sample's words before it is given up; a user's list may have hardly any words that go together."""
MANY_SAMPLES = 50_000
"""Up to this many samples, prompt seeds have at most six digits."""


def draw_percents(random: Random, percents: Percents, count: int) -> list[int]:
    """Shares of `count` words in per cent: multiples of the step between min and max that sum to 100, all equally likely."""
    parts = percents.step_counts()
    left = 100 // percents.step
    drawn = []
    for others in reversed(range(count)):
        weights = [_ways(parts, others, left - part) for part in parts]
        (part,) = random.choices(parts, weights)
        drawn.append(part * percents.step)
        left -= part
    return drawn


@lru_cache(maxsize=10_000)
def _ways(parts: tuple[int, ...], count: int, total: int) -> int:
    """In how many ways `count` of these parts sum to a total."""
    if count == 0 or total < 0:
        return int(total == 0)
    return sum(_ways(parts, count - 1, total - part) for part in parts)


def draw_seeds(random: Random, seed: int, split: str) -> Iterator[int]:
    """Distinct prompt seeds; those of training and evaluation are never the same."""
    used: set[int] = set()
    while True:
        limit = 10**6 if len(used) < MANY_SAMPLES else 10**9
        drawn = random.randrange(1, limit)
        if drawn not in used and belongs_to_eval(seed, str(drawn), EVAL_SEEDS) == (split == "eval"):
            used.add(drawn)
            yield drawn


def draw_words(random: Random, vocabulary: Sequence[str], count: int) -> list[str]:
    """Words of which none begins another.

    Raises:
        OutctlError: none were found in `TRIES` draws.
    """
    for _ in range(TRIES):
        words = random.sample(vocabulary, count)
        if not starts_another(words):
            return words
    raise OutctlError(f"no {count} words were found of which none begins another, such as {words}; list more words")
