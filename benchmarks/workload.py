"""The questions that every contender gets: long ones that begin alike, and short ones; the same for the same seed.

A few-shot prompt has some 430 tokens (tokenizer of SmolLM2), of which the first 315 or so are the same in all: a system
turn, answered examples and the opening of the question. Then come two words with their shares, and the rest of the
question, which cannot be shared because the words stand before it. A short prompt is the question alone.
"""

from collections.abc import Iterator
from random import Random

from outctl.tasks.samples import Message, Sample
from outctl.tasks.words import common_words

VOCABULARY = 3000
"""How many of the commonest English words are asked for."""
HELD_OUT = 10
"""Every so manyth word is never trained on."""

SYSTEM = (
    "You take part in an experiment about chance. Each question names two words and says how likely each of them should "
    "be as your answer. Nobody reads what you happen to say: your next-word probabilities are read instead, and they are "
    "held against the numbers of the question. Say one of the two words and nothing else."
)
EXAMPLES = (
    ("barrel", 85, "willow", 15, "barrel"),
    ("trumpet", 40, "glacier", 60, "glacier"),
    ("sparrow", 5, "cushion", 95, "cushion"),
    ("harbour", 70, "mustard", 30, "harbour"),
    ("velvet", 55, "pigeon", 45, "pigeon"),
)
OPENING = (
    "Now it is your turn, and this is the question that counts. Think of an urn with a hundred slips of paper in it. On "
    "every slip stands one of two words, and you draw a slip without looking. The numbers add up to a hundred. This is "
    "what has been put into the urn:"
)
REST = (
    "The slips were shaken well, so each is as likely to be drawn as any other. Over many draws each word would come up "
    "about as often as its number says, and a single draw may still give the rarer of the two. The order in which the "
    "words stand here means nothing, and neither does their length or how often they are used in other texts. Draw one "
    "slip and write down what stands on it: the bare word in lower case, without quotation marks, without a full stop, "
    "and without any remark."
)


def words_of(held_out: bool) -> list[str]:
    """The words to train on, or those that are kept for measuring; no word is in both."""
    return [word for number, word in enumerate(common_words(VOCABULARY)) if (number % HELD_OUT == 0) == held_out]


def _draws(count: int, seed: str, words: list[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Pairs of words, neither of which begins with the other, and their shares in per cent."""
    random = Random(seed)
    for _ in range(count):
        first, second = random.sample(words, 2)
        while first.startswith(second) or second.startswith(first):
            first, second = random.sample(words, 2)
        percent = 5 * random.randrange(1, 20)
        yield [first, second], [percent, 100 - percent]


def _sample(kind: str, number: int, messages: list[Message], words: list[str], percents: list[int]) -> Sample:
    return Sample(
        sample_id=f"{kind}-{number:05d}",
        case=kind,
        messages=messages,
        words=words,
        target=[percent / 100 for percent in percents],
        tolerance=0.1,
        seed=number,
    )


def few_shot(count: int, seed: int = 0, held_out: bool = False) -> list[Sample]:
    """Long questions behind a shared beginning."""
    shared = [Message(role="system", content=SYSTEM)]
    for first, first_percent, second, second_percent, answer in EXAMPLES:
        question = f"In the urn: {first_percent} slips with {first}, {second_percent} slips with {second}. Draw one."
        shared += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    samples = []
    for number, (words, percents) in enumerate(_draws(count, f"{seed}/few-shot/{held_out}", words_of(held_out))):
        slips = ", ".join(f"{percent} slips with {word}" for word, percent in zip(words, percents, strict=True))
        turn = Message(role="user", content=f"{OPENING} {slips}. {REST}")
        samples.append(_sample("few-shot", number, [*shared, turn], words, percents))
    return samples


def short(count: int, seed: int = 0, held_out: bool = False) -> list[Sample]:
    """Questions of one line."""
    samples = []
    for number, (words, percents) in enumerate(_draws(count, f"{seed}/short/{held_out}", words_of(held_out))):
        shares = ", ".join(f"{percent}% {word}" for word, percent in zip(words, percents, strict=True))
        turn = Message(role="user", content=f"Say one word: {shares}")
        samples.append(_sample("short", number, [turn], words, percents))
    return samples


WORKLOADS = {"few-shot": few_shot, "short": short}
"""The workloads by name."""
