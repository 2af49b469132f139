"""What losses between the target and the model's word distribution compare; the losses lie in `outctl.metrics.losses`."""

from collections.abc import Callable

import torch
from torch import Tensor

from outctl.errors import OutctlError
from outctl.metrics.divergences import within_limit

Loss = Callable[[Tensor, Tensor], Tensor]
"""From log-probabilities of the words and targets, both (B, K), to one value a sample, (B,)."""


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
        loss: an entry of `outctl.config.registries.LOSSES`.
        log_p: (B, K) log-probabilities of the words, padded with -inf.
        target: (B, K) shares, padded with 0.
        by_rank: (B,) booleans: samples whose words the model picked.
        at_most: (B,) booleans: samples whose first share is a limit.

    Returns:
        A scalar.

    Raises:
        OutctlError: the loss does not give one value for each sample.
    """
    values = loss(*compared(log_p, target, by_rank, at_most))
    if values.shape != log_p.shape[:-1]:
        raise OutctlError(
            f"the loss gives values of shape {tuple(values.shape)} for {len(log_p)} samples; give one for each"
        )
    return values.mean()
