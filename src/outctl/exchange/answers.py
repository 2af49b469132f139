"""Written answers of a model that is seen through its text alone: which word each is, and what their counts amount to."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from outctl.evaluation.sampling import sampling_floor
from outctl.inference.word_forms import continues_word, surface_forms
from outctl.metrics import divergences
from outctl.metrics.statistics import conditional_share


def answered(text: str, outcomes: Sequence[Sequence[str]], cut: bool = False) -> int | None:
    """Which word a written answer is: it begins with a surface form of the word, and the word ends there.

    That is the rule of the exact probabilities, on characters where they look at tokens. It differs from them in two rare
    cases: a form counts in whatever tokens it was written, and a hyphen or apostrophe goes on with a word whenever a letter
    or digit follows, in whatever token.

    Args:
        text: the answer.
        outcomes: for each word, the answers that count for it.
        cut: whether the answer was ended by a limit on its length. A form at its very end is then undecided: no word.

    Returns:
        The number of the word; None for anything else.
    """
    for number, answers in enumerate(outcomes):
        for form in (form for answer in answers for form in surface_forms(answer)):
            rest = text[len(form) :]
            if text.startswith(form) and not continues_word(rest) and (rest or not cut):
                return number
    return None


def frequency_scores(counts: Sequence[int], draws: int, target: Sequence[float], at_most: bool) -> dict[str, float]:
    """What the counts of a sample's words amount to, by the definitions of the exact measurement.

    Args:
        counts: how many answers are each word.
        draws: number of answers.
        target: the share asked for each word.
        at_most: whether the first share is a limit.

    Returns:
        `tvd`, `conditional_tvd`, `mass` and `first_share` (the first word's share of the mass) of the frequencies, and
        `sampling_floor`: the mean tvd of so many answers of a model whose distribution is just the target. Under a limit it
        is 0, since a model that never says the word draws no other distance. Undefined numbers are NaN.
    """
    scores = distribution_scores([count / draws for count in counts], target, at_most)
    floor = 0.0 if at_most else sampling_floor(np.asarray(target, dtype=np.float64), draws)
    return {**scores, "sampling_floor": floor}


def distribution_scores(probabilities: Sequence[float], target: Sequence[float], at_most: bool) -> dict[str, float]:
    """`tvd`, `conditional_tvd`, `mass` and `first_share` of the words' probabilities, as for exact ones.

    Args:
        probabilities: of each word; what is missing to one is *anything else*.
        target: the share asked for each word.
        at_most: whether the first share is a limit.
    """
    log_p = torch.tensor(probabilities, dtype=torch.float64).log()
    wanted = torch.tensor(target, dtype=torch.float64)
    mass = math.fsum(probabilities)
    distance = divergences.excess if at_most else divergences.tvd
    conditional = distance(log_p.log_softmax(-1), wanted).item() if mass > 0.0 else math.nan
    return {
        "tvd": distance(log_p, wanted).item(),
        "conditional_tvd": conditional,
        "mass": mass,
        "first_share": conditional_share(probabilities),
    }


def first_token_probabilities(
    top_tokens: Sequence[tuple[str, float]], outcomes: Sequence[Sequence[str]]
) -> list[float]:
    """Probability of each word by the first token of the answer alone, which is all that most interfaces show.

    A token counts for the one word of which a surface form is it or begins with it. Of two words that begin alike neither
    gets it; and it may be the beginning of a word that was not asked for, so these are no probabilities of words.

    Args:
        top_tokens: text and probability of the likeliest first tokens.
        outcomes: for each word, the answers that count for it.
    """
    found = [0.0] * len(outcomes)
    forms = [[form for answer in answers for form in surface_forms(answer)] for answers in outcomes]
    for text, probability in top_tokens:
        owners = [number for number, own in enumerate(forms) if any(form.startswith(text) for form in own)]
        if text.strip() and len(owners) == 1:
            found[owners[0]] += probability
    return found
