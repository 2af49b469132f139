"""What lm-evaluation-harness calls for the tasks beside this file: their questions, and the scores of an answer.

`outctl export-lm-eval` copies this file beside the tasks, so that they work where outctl is not installed: it imports
nothing of it. The scores are those of `outctl.metrics.divergences` and `outctl.metrics.statistics`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

SLACK = 1e-9
"""Slack of the comparison with the tolerance: a distance of exactly 0.1 must not fail because it is stored as 0.1 + 1e-17."""


def questions(file: str, **_: Any) -> dict[str, Dataset]:
    """Read the questions of a task.

    Args:
        file: name of the JSON lines file, beside this one.
    """
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return {"test": Dataset.from_list([json.loads(line) for line in text.removesuffix("\n").split("\n")])}


def scores(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Score one question from the log-likelihoods of all surface forms of its words.

    Args:
        doc: the question: `owners` has the number of the word that each form belongs to, `target` the words' shares.
        results: natural logarithm of the probability of each form, and whether it is the greedy answer.
    """
    probabilities = [0.0] * len(doc["target"])
    for owner, (log_likelihood, _) in zip(doc["owners"], results, strict=True):
        probabilities[owner] += math.exp(log_likelihood)
    mass = math.fsum(probabilities)
    shares = [p / mass if mass > 0.0 else math.nan for p in probabilities]
    distance = _distance(probabilities, doc["target"], doc["at_most"])
    return {
        "tvd": distance,
        "within_tolerance": float(distance <= doc["tolerance"] + SLACK),
        "conditional_tvd": _distance(shares, doc["target"], doc["at_most"]),
        "mass": mass,
        "control_slope": (doc["target"][0], shares[0]),
    }


def _distance(probabilities: Sequence[float], target: Sequence[float], at_most: bool) -> float:
    """Total variation distance over the words and anything else; under a limit, to the nearest distribution below it."""
    other = max(0.0, 1.0 - math.fsum(probabilities))
    if at_most:
        return max(0.0, probabilities[0] - target[0]) + other
    return 0.5 * (math.fsum(abs(p - t) for p, t in zip(probabilities, target, strict=True)) + other)


def defined_mean(values: Sequence[float]) -> float:
    """Mean over the questions that have a value; NaN if none has."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def slope(pairs: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of the first word's share of the mass on its target; NaN where the targets do not vary."""
    defined = [(target, share) for target, share in pairs if not math.isnan(share)]
    if len({target for target, _ in defined}) < 2:
        return math.nan
    middle = math.fsum(target for target, _ in defined) / len(defined)
    spread = math.fsum((target - middle) ** 2 for target, _ in defined)
    return math.fsum((target - middle) * share for target, share in defined) / spread
