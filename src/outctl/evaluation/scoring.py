"""From a sample and what a model answered to a record."""

from collections.abc import Sequence

import torch

from outctl.evaluation.records import Record, TopToken
from outctl.metrics.divergences import conditional_tvd, excess, other_mass, tvd
from outctl.metrics.sad import sad_score
from outctl.tasks.samples import Sample
from outctl.tasks.words import is_rare_word

ROUNDING = 1e-9
"""Slack of the comparison with the tolerance: a distance of exactly 0.1 must not fail because it is stored as 0.1 + 1e-17."""


def score(
    sample: Sample,
    model: str,
    variant: str,
    words: Sequence[str],
    log_probabilities: Sequence[float],
    top_tokens: Sequence[tuple[str, float]],
    unresolved_mass: float | None = None,
    free_share: float | None = None,
    search_complete: bool | None = None,
    unread_spellings_bound: float | None = None,
) -> Record:
    """Score one answer.

    Args:
        sample: the question.
        model: name of the model asked.
        variant: `baseline`, or the adapter asked.
        words: the words whose probabilities were measured: the sample's, or those that the model picked.
        log_probabilities: natural logarithm of each word's probability.
        top_tokens: text and probability of the likeliest first tokens, likeliest first.
        unresolved_mass: what the search for the model's own words left open.
        free_share: share of the first word among the words' mass where no limit is asked for.
        search_complete: whether that search proved that no other words are likelier.
        unread_spellings_bound: what other tokens that spell the words have at most.

    Raises:
        ValueError: there are not as many words and probabilities as shares.
    """
    if not len(words) == len(log_probabilities) == len(sample.target):
        raise ValueError(f"{sample.sample_id}: {len(words)} words for {len(sample.target)} shares")
    answers = list(zip(words, log_probabilities, strict=True))
    target = list(sample.target)
    if sample.words is None:
        # The model may call its words what it likes: the likeliest is compared with the largest share.
        answers.sort(key=lambda answer: (-answer[1], answer[0]))
        target.sort(reverse=True)
    log_p = torch.tensor([value for _, value in answers], dtype=torch.float64)
    wanted = torch.tensor(target, dtype=torch.float64)
    if sample.at_most:
        distance = excess(log_p, wanted).item()
        conditional = excess(log_p.log_softmax(-1), wanted).item()
    else:
        distance = tvd(log_p, wanted).item()
        conditional = conditional_tvd(log_p, wanted).item()
    valid = None if sample.words is not None else words_are_valid([word for word, _ in answers], sample.max_zipf)
    # The published rule knows no limits.
    sad = None if sample.at_most else sad_score(top_tokens, sample.target, sample.tolerance + ROUNDING, sample.words)
    return Record(
        sample_id=sample.sample_id,
        case=sample.case,
        model=model,
        variant=variant,
        words=[word for word, _ in answers],
        target=target,
        tolerance=sample.tolerance,
        probabilities=log_p.exp().tolist(),
        other_mass=other_mass(log_p).item(),
        tvd=distance,
        within_tolerance=distance <= sample.tolerance + ROUNDING and valid is not False,
        conditional_tvd=None if conditional != conditional else conditional,
        tvd_sad=sad.tvd if sad else None,
        within_tolerance_sad=sad.within_tolerance if sad else None,
        words_valid=valid,
        unresolved_mass=unresolved_mass,
        search_complete=search_complete,
        unread_spellings_bound=unread_spellings_bound,
        at_most=sample.at_most,
        free_share=free_share,
        top_tokens=[TopToken(text=text, probability=probability) for text, probability in top_tokens],
    )


def words_are_valid(words: Sequence[str], max_zipf: float | None) -> bool:
    """Whether a model's own words are distinct English words, and as rare as the question demands."""
    distinct = len({word.casefold() for word in words}) == len(words)
    return distinct and all(is_rare_word(word, 8.0 if max_zipf is None else max_zipf) for word in words)
