"""Divergences between word distributions: one implementation behind losses and scores.

The outcomes are the K words of a sample and one more, *anything else*. The model's distribution p is given by the
log-probabilities of the words; *anything else* has what is missing to one, 1 - sum(p). The target t gives all its mass
to the words. Samples with fewer than K words are padded with t = 0 and log p = -inf.

Shapes: `log_p` and `target` are (..., K); every function returns (...,), in nats where it has a unit. `full_kl` alone
compares two models, over all tokens.
"""

import torch
from torch import Tensor

REVERSE_KL_FLOOR = 1e-3
"""Share that the target gives to *anything else* in the reverse divergence, which is infinite without it."""


def _check(log_p: Tensor, target: Tensor) -> None:
    if log_p.shape != target.shape:
        raise ValueError(f"log_p has shape {tuple(log_p.shape)}, target {tuple(target.shape)}")


def other_mass(log_p: Tensor) -> Tensor:
    """Probability of *anything else*: 1 - sum_i p_i, never below zero through rounding."""
    return (1.0 - log_p.exp().sum(-1)).clamp_min(0.0)


def tvd(log_p: Tensor, target: Tensor) -> Tensor:
    """Total variation distance ½ (sum_i |p_i - t_i| + (1 - sum_i p_i)), in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    _check(log_p, target)
    return 0.5 * ((log_p.exp() - target).abs().sum(-1) + other_mass(log_p))


def conditional_tvd(log_p: Tensor, target: Tensor) -> Tensor:
    """Total variation distance after division by m = sum_i p_i; NaN where m = 0.

    Raises:
        ValueError: the shapes differ.
    """
    _check(log_p, target)
    return 0.5 * (torch.softmax(log_p, -1) - target).abs().sum(-1)


def excess(log_p: Tensor, target: Tensor) -> Tensor:
    """Total variation distance to the nearest distribution over the words that gives the first one at most t_0.

    That is max(0, p_0 - t_0) + (1 - sum_i p_i): what is too much can go to any other word, and *anything else* has to.

    Raises:
        ValueError: the shapes differ.
    """
    _check(log_p, target)
    return (log_p[..., 0].exp() - target[..., 0]).clamp_min(0.0) + other_mass(log_p)


def within_limit(log_p: Tensor, target: Tensor) -> Tensor:
    """The nearest shares that keep to a limit, for questions that ask for a word *at most* so often.

    A word that stays below its limit is right as it is: only what is given to neither outcome is then wrong. `tvd` to these
    shares is `excess`. No gradient goes through them.

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


def kl(log_p: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(t || p) = sum_i t_i (log t_i - log p_i), t_i = 0 contributing nothing.

    Its gradient is that of the soft-label cross-entropy - sum_i t_i log p_i. Infinite where p misses a word of t.

    Raises:
        ValueError: the shapes differ.
    """
    _check(log_p, target)
    wanted = target > 0
    # Unwanted entries are made finite before they are multiplied by zero: 0 * inf is NaN, in the gradient too.
    return (target * (target.masked_fill(~wanted, 1.0).log() - log_p.masked_fill(~wanted, 0.0))).sum(-1)


def reverse_kl(log_p: Tensor, target: Tensor, floor: float = REVERSE_KL_FLOOR) -> Tensor:
    """KL(p || t') over the words and *anything else*, with t' = ((1 - floor) t, floor).

    The floor keeps it finite: a target that excludes *anything else* is infinitely far from any model. Words with
    t_i = 0 share the floor too.

    Raises:
        ValueError: the shapes differ, or the floor is not between 0 and 1.
    """
    _check(log_p, target)
    if not 0.0 < floor < 1.0:
        raise ValueError(f"floor must lie between 0 and 1, not {floor}")
    padding = log_p == -torch.inf
    p = log_p.exp()
    log_target = ((1.0 - floor) * target).clamp_min(floor).log()
    words = (p * (log_p.masked_fill(padding, 0.0) - log_target)).masked_fill(padding, 0.0).sum(-1)
    rest = (1.0 - p.sum(-1)).clamp_min(torch.finfo(p.dtype).tiny)
    return words + rest * (rest.log() - torch.tensor(floor, dtype=p.dtype, device=p.device).log())


def js(log_p: Tensor, target: Tensor) -> Tensor:
    """Jensen-Shannon divergence ½ KL(t || a) + ½ KL(p || a), a = ½ (p + t), over the words and *anything else*.

    Between 0 and log 2; finite for every p. Source: Lin 1991, doi 10.1109/18.61115.

    Raises:
        ValueError: the shapes differ.
    """
    _check(log_p, target)
    tiny = torch.finfo(log_p.dtype).tiny
    p = log_p.exp()
    middle = 0.5 * (p + target)
    log_middle = middle.clamp_min(tiny).log()
    from_target = target * (target.clamp_min(tiny).log() - log_middle)
    padding = log_p == -torch.inf
    from_p = (p * (log_p.masked_fill(padding, 0.0) - log_middle)).masked_fill(padding, 0.0)
    # *Anything else* has target 0, so a = p / 2 there and its term is p log 2.
    rest = other_mass(log_p) * torch.log(torch.tensor(2.0, dtype=p.dtype, device=p.device))
    return 0.5 * ((from_target + from_p).sum(-1) + rest)


def full_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = sum_v p_v (log p_v - log q_v) between two next-token distributions over all V tokens.

    Exactly zero for equal arguments. Its gradient in log q is that of the cross-entropy - sum_v p_v log q_v.

    Args:
        log_p: (..., V) finite log-probabilities of the distribution that is to be kept.
        log_q: (..., V) finite log-probabilities of the one that is compared with it.

    Raises:
        ValueError: the shapes differ.
    """
    if log_p.shape != log_q.shape:
        raise ValueError(f"log_p has shape {tuple(log_p.shape)}, log_q {tuple(log_q.shape)}")
    return (log_p.exp() * (log_p - log_q)).sum(-1)
