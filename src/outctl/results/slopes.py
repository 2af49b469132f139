"""What slopes are fitted to: shares asked for and given, sample by sample."""

from collections.abc import Sequence

import numpy as np

from outctl.evaluation.records import Record
from outctl.metrics.statistics import NAN, conditional_share

LEAST_MASS = 0.05
"""Below this mean probability of answering with one of the words, slopes are undefined."""


def has_slope(records: Sequence[Record]) -> bool:
    """Whether answers have a slope: shares are asked for, and on average the words get `LEAST_MASS`.

    Below that, what the split of the words' mass shows is rounding, and which spellings count.
    """
    return not records[0].at_most and float(np.mean([1.0 - record.other_mass for record in records])) >= LEAST_MASS


def first_shares(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """What `control_slope` is fitted to: share asked for and given of each sample's first word; given is NaN without a slope."""
    sloped = has_slope(records)
    return [record.target[0] for record in records], [
        conditional_share(own.probabilities) if sloped else NAN for own in records
    ]


def largest_shares(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """What `within_slope` is fitted to: as `first_shares`, of the word with the largest share; given is NaN where two have it."""
    sloped = has_slope(records)
    asked, given = [], []
    for record in records:
        largest = max(record.target)
        single = record.target.count(largest) == 1
        asked.append(largest)
        given.append(
            conditional_share(record.probabilities, record.target.index(largest)) if sloped and single else NAN
        )
    return asked, given
