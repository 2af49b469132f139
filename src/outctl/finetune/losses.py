"""Losses between the target and the model's word distribution: the divergences of `outctl.metrics.divergences`, by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from outctl.config.schema import LossName
from outctl.metrics import divergences

Loss = Callable[[Tensor, Tensor], Tensor]
"""From log-probabilities of the words and targets, both (B, K), to one value a sample, (B,)."""

LOSSES: dict[LossName, Loss] = {
    "tvd": divergences.tvd,
    "kl": divergences.kl,
    "reverse_kl": divergences.reverse_kl,
    "js": divergences.js,
}
"""`kl` has the gradient of soft-label cross-entropy and pulls on words of no probability as well; `tvd` is the score
itself, flat where a word has no probability yet; `reverse_kl` punishes mass elsewhere most; `js` is bounded."""


def rank_match(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Pair the likeliest word with the largest share, the second with the second, and so on.

    For cases in which the model picks the words: which words they are is its own business, only the shares are asked.

    Args:
        log_p: (B, K) log-probabilities of the words.
        target: (B, K) shares in any order.

    Returns:
        Both, each sorted with the largest first; gradients reach the words that the sorting picked.
    """
    return log_p.sort(-1, descending=True).values, target.sort(-1, descending=True).values


def within_limit(log_p: Tensor, target: Tensor) -> Tensor:
    """The nearest shares that keep to a limit, for questions that ask for a word *at most* so often.

    A word that stays below its limit is right as it is: only what is given to neither outcome is then wrong. `tvd` to these
    shares is `outctl.metrics.divergences.excess`. No gradient goes through them.

    Args:
        log_p: (B, K) log-probabilities; the first outcome has the limit, the second is all other answers, the rest is padding.
        target: (B, K) the limit and what it leaves.

    Returns:
        (B, K) shares.
    """
    share = torch.minimum(log_p[:, 0].detach().exp(), target[:, 0])
    nearest = torch.zeros_like(target)
    nearest[:, 0], nearest[:, 1] = share, 1.0 - share
    return nearest


def compared(log_p: Tensor, target: Tensor, by_rank: Tensor, at_most: Tensor) -> tuple[Tensor, Tensor]:
    """What each row is compared with: `rank_match` in the rows of `by_rank`, `within_limit` in those of `at_most`, (B,) each."""
    ranked_p, ranked_target = rank_match(log_p, target)
    chosen, limited = by_rank[:, None], at_most[:, None]
    if at_most.any():
        target = torch.where(limited, within_limit(log_p, target), target)
    return torch.where(chosen, ranked_p, log_p), torch.where(chosen, ranked_target, target)


def distribution_loss(loss: Loss, log_p: Tensor, target: Tensor, by_rank: Tensor, at_most: Tensor) -> Tensor:
    """Mean loss of a batch.

    Args:
        loss: one of `LOSSES`.
        log_p: (B, K) log-probabilities of the words, padded with -inf.
        target: (B, K) shares, padded with 0.
        by_rank: (B,) booleans: samples whose words the model picked.
        at_most: (B,) booleans: samples whose first share is a limit.

    Returns:
        A scalar.
    """
    return loss(*compared(log_p, target, by_rank, at_most)).mean()
