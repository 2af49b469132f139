"""The kinds of case: how their samples are drawn and asked."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any, NamedTuple

from outctl.config.schema import (
    CaseConfig,
    GivenWords,
    IclRandomWords,
    Percents,
    RandomWords,
    SuccessiveWords,
    Suppression,
)
from outctl.errors import OutctlError
from outctl.tasks.samples import Message, Sample
from outctl.tasks.shares import named_shares
from outctl.tasks.splits import belongs_to_eval, words_of_split
from outctl.tasks.templates import Template, render
from outctl.tasks.topics import TOPICS
from outctl.tasks.words import common_words, rare_words, starts_another

EVAL_SEEDS = 0.125
"""Share of all prompt seeds that only evaluation uses."""
TOPICS_FOR_EVAL = 0.5
"""Share of the topics that only evaluation asks about; there are few, and training on them is the exception."""
OTHERS = "another"
"""What stands for all other answers to a topic."""
TRIES = 10_000
"""Draws of a sample's words before it is given up; a user's list may have hardly any words that go together."""
MANY_SAMPLES = 50_000
"""Up to this many samples, prompt seeds have at most six digits."""


def draw_percents(random: Random, percents: Percents, count: int) -> list[int]:
    """Shares of `count` words in per cent: multiples of the step between min and max that sum to 100, all equally likely."""
    parts = percents.shares()
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


def _conversation(template: Template, examples: list[tuple[str, str]], question: str) -> list[Message]:
    messages: list[Message] = []
    if template.system:
        messages.append(Message(role="system", content=template.system.strip()))
    fixed = [(example.user.strip(), example.assistant.strip()) for example in template.examples]
    for user, assistant in fixed + examples:
        messages.append(Message(role="user", content=user))
        messages.append(Message(role="assistant", content=assistant))
    messages.append(Message(role="user", content=question))
    return messages


class _Drawn(NamedTuple):
    """What was drawn for one sample: `answers` stand for the words where several answers count for one of them."""

    target: list[float]
    variables: dict[str, Any]
    words: list[str] | None = None
    answers: list[list[str]] | None = None


def _distinct(random: Random, vocabulary: Sequence[str], count: int) -> list[str]:
    for _ in range(TRIES):
        words = random.sample(vocabulary, count)
        if not starts_another(words):
            return words
    raise OutctlError(f"no {count} words were found of which none begins another, such as {words}; list more words")


def _given_words(case: GivenWords, vocabulary: Sequence[str], random: Random) -> _Drawn:
    if case.vocabulary == "phrases":
        parts = _distinct(random, vocabulary, 2 * case.num_words)
        words = [" ".join(pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    else:
        words = _distinct(random, vocabulary, case.num_words)
    percents = draw_percents(random, case.percents, case.num_words)
    return _Drawn([percent / 100 for percent in percents], {"shares": named_shares(words, percents)}, words)


def _successive_words(case: SuccessiveWords, vocabulary: Sequence[str], random: Random) -> _Drawn:
    words = _distinct(random, vocabulary, 4)
    percents = [draw_percents(random, case.percents, 2) for _ in range(2)]
    first, second = (named_shares(words[2 * i : 2 * i + 2], percents[i]) for i in range(2))
    pairs = list(product(first, second))
    # The two are asked for independently, so a pair's share is the product of theirs.
    target = [one.percent * other.percent / 10_000 for one, other in pairs]
    return _Drawn(target, {"first": first, "second": second}, [f"{one.word} {other.word}" for one, other in pairs])


def _limits(case: Suppression, random: Random, seed: int, split: str) -> Iterator[_Drawn]:
    """Topics with the answer that is to be rare and its limit; none comes again before all have been asked."""
    own = [topic for topic in TOPICS if belongs_to_eval(seed, topic.name, TOPICS_FOR_EVAL) == (split == "eval")]
    every = [(topic, word, percent) for topic in own for word in topic.answers for percent in case.limits]
    while True:
        for topic, word, percent in random.sample(every, len(every)):
            others = [answer for answer in topic.answers if answer != word]
            variables = {"topic": topic.name, "word": word, "percent": percent}
            yield _Drawn([percent / 100, 1 - percent / 100], variables, [word, OTHERS], [[word], others])


@lru_cache(maxsize=8)
def split_vocabulary(
    case: GivenWords | SuccessiveWords, seed: int, split: str, listed: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """The words of one split; training and evaluation have none in common.

    Args:
        case: the case.
        seed: the experiment's seed.
        split: `train` or `eval`.
        listed: all words of the vocabulary; the case's most common ones without it.

    Raises:
        OutctlError: too few words are left for a sample.
    """
    return words_of_split(case, seed, split, common_words(case.vocabulary_size) if listed is None else listed)


def _examples(case: IclRandomWords, template: Template, case_name: str, seed: int) -> list[tuple[str, str]]:
    """Answered examples, the same for every sample and split of a case; their seeds belong to training."""
    if template.answer is None:
        raise OutctlError(f"cases.{case_name}.template: the template has no `answer`, which answered examples need")
    random = Random(f"{seed}/examples")
    rare = rare_words(case.max_zipf)
    if len(rare) < case.num_examples:
        raise OutctlError(f"cases.{case_name}.num_examples: only {len(rare)} words are so rare")
    words = random.sample(rare, case.num_examples)
    seeds = draw_seeds(random, seed, "train")
    examples = []
    for word, prompt_seed in zip(words, seeds, strict=False):
        variables = {"seed": prompt_seed, "percents": sorted(draw_percents(random, case.percents, 2), reverse=True)}
        examples.append((render(template.question, **variables), render(template.answer, word=word, **variables)))
    return examples


def draw_samples(
    case: CaseConfig,
    template: Template,
    case_name: str,
    split: str,
    count: int,
    seed: int,
    listed: tuple[str, ...] | None = None,
) -> Iterator[Sample]:
    """Draw the samples of a case and split; a smaller count gives the beginning of a larger one.

    Args:
        case: the case.
        template: how it asks.
        case_name: its name.
        split: `train` or `eval`.
        count: number of samples.
        seed: the experiment's seed.
        listed: the words to draw from, where they are not the most common ones.

    Raises:
        OutctlError: the template does not fit the case, or the vocabulary is too small.
    """
    # Not keyed by the case: cases that differ in their wording alone ask for the same words and shares, so they pair.
    random = Random(f"{seed}/{split}")
    seeds = draw_seeds(random, seed, split)
    examples = _examples(case, template, case_name, seed) if isinstance(case, IclRandomWords) else []
    limits = _limits(case, random, seed, split) if isinstance(case, Suppression) else iter(())
    for number in range(count):
        prompt_seed = next(seeds)
        max_zipf: float | None = None
        match case:
            case GivenWords():
                drawn = _given_words(case, split_vocabulary(case, seed, split, listed), random)
            case SuccessiveWords():
                drawn = _successive_words(case, split_vocabulary(case, seed, split), random)
            case Suppression():
                drawn = next(limits)
            case RandomWords() | IclRandomWords():
                percents = sorted(draw_percents(random, case.percents, 2), reverse=True)
                drawn = _Drawn([percent / 100 for percent in percents], {"seed": prompt_seed, "percents": percents})
                max_zipf = case.max_zipf
        suppressed = isinstance(case, Suppression)
        free = render(template.free, **drawn.variables) if suppressed and template.free else None
        yield Sample(
            sample_id=f"{case_name}-{split}-{number:05d}",
            case=case_name,
            messages=_conversation(template, examples, render(template.question, **drawn.variables)),
            words=drawn.words,
            answers=drawn.answers,
            target=drawn.target,
            at_most=suppressed,
            free_messages=_conversation(template, examples, free) if free else None,
            tolerance=case.tolerance,
            seed=prompt_seed,
            max_zipf=max_zipf,
        )
