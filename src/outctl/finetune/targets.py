"""What a recipe trains on in place of what is asked: the targets of its controls."""

import random
from collections.abc import Sequence

from outctl.tasks.samples import Sample


def with_targets(samples: Sequence[Sample], targets: str, seed: int) -> list[Sample]:
    """The samples with the targets that a recipe trains on; what the questions ask for stays as it is.

    Args:
        samples: samples to train on.
        targets: `asked` leaves them alone; `shuffled` gives each the target of another one with as many words, and a limit
            that of another limit; `even` gives all words the same.
        seed: seed of the shuffling.
    """
    if targets == "asked":
        return list(samples)
    if targets == "even":
        return [
            sample.model_copy(update={"target": [1 / len(sample.target)] * len(sample.target)}) for sample in samples
        ]
    alike: dict[tuple[int, bool], list[int]] = {}
    for number, sample in enumerate(samples):
        alike.setdefault((len(sample.target), sample.at_most), []).append(number)
    given = list(samples)
    for numbers in alike.values():
        order = random.Random(f"{seed}/targets").sample(numbers, len(numbers))
        # Each takes the next one's in a random circle, so that none keeps its own by chance of the draw.
        for number, other in zip(order, [*order[1:], order[0]], strict=True):
            given[number] = samples[number].model_copy(update={"target": samples[other].target})
    return given
