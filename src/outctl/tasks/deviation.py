"""Samples that ask for a deviation: continue a known text or a pattern, then break off with what does not continue it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count as count_from
from itertools import cycle, islice, product
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Literal, Self

from pydantic import Field, model_validator

from outctl.errors import OutctlError
from outctl.storage.files import StrictRow, read_rows, write_jsonl
from outctl.tasks.samples import Message

EXCERPT_CUTS = (25, 50)
"""Words of a text that are shown."""
PATTERN_CUTS = (50, 75)
"""Elements of a pattern that are shown."""
WAIT = 20
"""Words to continue before the window."""
WINDOWS = (10, 15, 20, 25)
"""Words from the end of the wait to the end of the window."""
SPARE = 5
"""Words that are known at least behind the window."""
KNOWN = 200
"""Words of a continuation that are kept at most: as many as an answer of 200 tokens can have."""
FEWEST_WORDS = max(EXCERPT_CUTS) + WAIT + max(WINDOWS) + SPARE
"""Words that a text needs for the longest excerpt and its continuation."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
PLAIN_WORDS = (
    *("apple", "bird", "blue", "book", "chair", "cloud", "dog", "door", "fish", "green", "house", "lamp"),
    *("moon", "paper", "red", "river", "stone", "table", "tree", "window"),
)


class DeviationSample(StrictRow):
    """One text or pattern to continue and then to leave."""

    sample_id: str = Field(min_length=1)
    """Unique within a file: source and number."""
    source: Literal["excerpt", "pattern"]
    """Where the words come from."""
    name: str = Field(min_length=1)
    """Which text, or which kind of pattern."""
    messages: list[Message] = Field(min_length=1)
    """The conversation before the model's turn."""
    shown: list[str] = Field(min_length=1)
    """The words that the model is shown."""
    continuation: list[str]
    """The words that truly follow, as many as are known, and more than the window reaches."""
    wait: int = Field(ge=1)
    """How many words the model must continue first."""
    window: int = Field(ge=2)
    """How many words the window has; the break must come before its last."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key, words in (("shown", self.shown), ("continuation", self.continuation)):
            if " ".join(words).split() != words:
                raise ValueError(f"{key}: one of them is empty or has white space in it")
        if len(self.continuation) < self.wait + self.window:
            raise ValueError(
                f"continuation: {len(self.continuation)} words for a window that ends at word {self.wait + self.window}"
            )
        return self


def write_deviation_samples(path: Path, samples: Iterable[DeviationSample]) -> None:
    """Write samples, one a line."""
    write_jsonl(path, (sample.model_dump(mode="json") for sample in samples))


def read_deviation_samples(path: Path) -> list[DeviationSample]:
    """Read the samples of a file.

    Raises:
        OutctlError: the file is missing or empty, a line is no sample, or two are of one name.
    """
    return read_rows(path, DeviationSample, "sample_id", [], "make the samples again")


def question(shown: Sequence[str], source: str, wait: int, window: int) -> str:
    """What the model is asked; the text to continue stands last, so that nothing comes between it and the answer."""
    what = "the beginning of a passage" if source == "excerpt" else "the beginning of a regular sequence"
    return (
        f"Below is {what}. Write what comes next, word for word, starting with the first word that is not shown. "
        f"Keep to the true continuation for at least {wait} words. Then, within the next {window} words, so before word "
        f"{wait + window} of your answer, break off: go on with something that clearly does not belong there. "
        f"Answer with the continuation only.\n\n{' '.join(shown)}"
    )


def draw_deviation_samples(count: int, texts: Mapping[str, str], seed: int) -> list[DeviationSample]:
    """Draw samples, excerpts and patterns in turn; a smaller count gives the beginning of a larger one.

    Each eight excerpts, and each eight patterns, hold every combination of cut and window once. The texts take turns,
    each with its beginning first, as that is what models know best, then with other sentences in random order.

    Args:
        count: how many samples.
        texts: what excerpts are taken from, by name.
        seed: samples follow from it and the texts alone.

    Raises:
        OutctlError: there is no text, or one has too few words.
    """
    if not texts:
        raise OutctlError("there is no text to take excerpts from; name a file with one")
    for name, text in texts.items():
        if (size := len(text.split())) < FEWEST_WORDS:
            raise OutctlError(f"text {name!r}: has {size} words, and {FEWEST_WORDS} are needed")
    sources: dict[Literal["excerpt", "pattern"], Iterator[tuple[str, list[str], int, int]]] = {
        "excerpt": _excerpts(texts, Random(f"{seed}/excerpts")),
        "pattern": _patterns(Random(f"{seed}/patterns")),
    }
    samples = []
    for number, (source, drawn) in zip(range(count), cycle(sources.items()), strict=False):
        name, words, cut, window = next(drawn)
        samples.append(
            DeviationSample(
                sample_id=f"{source}-{number:05d}",
                source=source,
                name=name,
                messages=[Message(role="user", content=question(words[:cut], source, WAIT, window))],
                shown=words[:cut],
                continuation=words[cut : cut + KNOWN],
                wait=WAIT,
                window=window,
            )
        )
    return samples


def _combinations(random: Random, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cuts and windows without end: all combinations in random order, then all in another."""
    while True:
        yield from random.sample(list(product(cuts, WINDOWS)), len(cuts) * len(WINDOWS))


def _excerpts(texts: Mapping[str, str], random: Random) -> Iterator[tuple[str, list[str], int, int]]:
    """Excerpts without end: the text's name, its words from the excerpt's first on, cut and window."""
    combinations = _combinations(random, EXCERPT_CUTS)
    while True:
        # Each round goes through all sentences of all texts, so that no excerpt comes twice before it must.
        places = {}
        for name, text in texts.items():
            first, *others = sentence_starts(text.split())
            places[name] = [first, *random.sample(others, len(others))]
        for turn in range(max(map(len, places.values()))):
            for name in random.sample(list(places), len(places)):
                if turn < len(places[name]):
                    yield name, texts[name].split()[places[name][turn] :], *next(combinations)


def sentence_starts(words: Sequence[str]) -> list[int]:
    """Where sentences begin that leave enough words for any excerpt; the text's own beginning always counts.

    A sentence begins with a capital behind a word that ends in a full stop, a question mark or an exclamation mark.
    """
    last = len(words) - FEWEST_WORDS
    return [0, *(i for i in range(1, last + 1) if words[i - 1][-1] in ".?!" and words[i][0].isupper())]


def _letters(random: Random) -> Iterator[str]:
    return cycle(random.sample(ascii_uppercase, random.randint(2, 4)))


def _words(random: Random) -> Iterator[str]:
    return cycle(random.sample(PLAIN_WORDS, random.randint(2, 4)))


def _doubled(random: Random) -> Iterator[str]:
    return cycle([word for word in random.sample(PLAIN_WORDS, random.randint(2, 3)) for _ in range(2)])


def _counting_up(random: Random) -> Iterator[str]:
    return map(str, count_from(random.randint(1, 50), random.choice((1, 2, 3, 5, 10))))


def _counting_down(random: Random) -> Iterator[str]:
    return map(str, count_from(random.randint(900, 999), -random.choice((1, 2, 3))))


def _weekdays(random: Random) -> Iterator[str]:
    return islice(cycle(WEEKDAYS), random.randrange(len(WEEKDAYS)), None)


def _months(random: Random) -> Iterator[str]:
    return islice(cycle(MONTHS), random.randrange(len(MONTHS)), None)


def _alternating(random: Random) -> Iterator[str]:
    word, start = random.choice(PLAIN_WORDS), random.randint(1, 50)
    return (element for number in count_from(start) for element in (word, str(number)))


PATTERNS: dict[str, Callable[[Random], Iterator[str]]] = {
    "letter-cycle": _letters,
    "word-cycle": _words,
    "doubled-words": _doubled,
    "counting-up": _counting_up,
    "counting-down": _counting_down,
    "weekdays": _weekdays,
    "months": _months,
    "word-and-number": _alternating,
}
"""Kinds of pattern: each draws one, whose elements go on without end."""


def _patterns(random: Random) -> Iterator[tuple[str, list[str], int, int]]:
    """Patterns without end: the kind's name, as many elements as a sample takes, cut and window."""
    combinations = _combinations(random, PATTERN_CUTS)
    while True:
        for name in random.sample(list(PATTERNS), len(PATTERNS)):
            cut, window = next(combinations)
            yield name, list(islice(PATTERNS[name](random), cut + KNOWN)), cut, window
