"""Losses: the registry, ranks, and what a step along the gradient does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from outctl.config.registries import LOSSES, LossName
from outctl.errors import OutctlError
from outctl.finetune.losses import distribution_loss, rank_match
from outctl.metrics.divergences import excess, js, kl, reverse_kl, tvd, within_limit

NOTHING = -torch.inf
NO_LIMIT = torch.tensor([False])


def test_each_loss_is_the_divergence_of_its_name() -> None:
    assert {"tvd": tvd, "kl": kl, "reverse_kl": reverse_kl, "js": js} == LOSSES


def test_rank_match_pairs_likeliest_word_with_largest_share() -> None:
    log_p = torch.tensor([[0.1, 0.6, 0.2], [0.5, 0.3, 0.1]]).log()
    target = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.3, 0.6]])
    ranked_p, ranked_target = rank_match(log_p, target)
    assert torch.equal(ranked_p, torch.tensor([[0.6, 0.2, 0.1], [0.5, 0.3, 0.1]]).log())
    assert torch.equal(ranked_target, torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]))


def test_rank_match_keeps_padding_last_and_passes_each_gradient_to_its_word() -> None:
    log_p = torch.tensor([[-2.0, -1.0, NOTHING]], requires_grad=True)
    ranked_p, ranked_target = rank_match(log_p, torch.tensor([[0.3, 0.7, 0.0]]))
    assert ranked_p.tolist() == [[-1.0, -2.0, NOTHING]]
    assert torch.equal(ranked_target, torch.tensor([[0.7, 0.3, 0.0]]))
    ranked_p.backward(torch.tensor([[10.0, 20.0, 0.0]]))
    assert log_p.grad is not None
    assert log_p.grad.tolist() == [[20.0, 10.0, 0.0]]


@pytest.mark.parametrize("name", LOSSES)
def test_only_rows_by_rank_are_reordered(name: LossName) -> None:
    p, swapped, target = [0.2, 0.7, 0.0], [0.7, 0.2, 0.0], [0.8, 0.2, 0.0]
    log_p = torch.tensor([p, p, [0.1, 0.3, 0.4]]).log()
    shares = torch.tensor([target, target, [0.2, 0.3, 0.5]])
    loss = distribution_loss(LOSSES[name], log_p, shares, torch.tensor([True, False, False]), NO_LIMIT.expand(3))
    rows = [(swapped, target), (p, target), ([0.1, 0.3, 0.4], [0.2, 0.3, 0.5])]
    each = [LOSSES[name](torch.tensor(row).log(), torch.tensor(share)).item() for row, share in rows]
    assert each[0] < each[1]
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(each) / 3, rel=1e-5)


def test_mixed_batch_worked_out_by_hand() -> None:
    log_p = torch.tensor([[0.2, 0.7], [0.2, 0.7]], dtype=torch.float64).log()
    target = torch.tensor([[0.8, 0.2], [0.8, 0.2]], dtype=torch.float64)
    # By rank 0.7 meets 0.8 and 0.2 meets 0.2: ½ (0.1 + 0 + 0.1). As given: ½ (0.6 + 0.5 + 0.1).
    loss = distribution_loss(tvd, log_p, target, torch.tensor([True, False]), NO_LIMIT.expand(2))
    assert loss.item() == pytest.approx((0.1 + 0.6) / 2)


@pytest.mark.parametrize("by_rank", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_padding_gives_no_nan_to_the_rest_of_the_batch(name: LossName, by_rank: bool) -> None:
    log_p = torch.tensor([[-1.0, -2.0, NOTHING], [-1.5, -2.5, -1.0]], requires_grad=True)
    target = torch.tensor([[0.4, 0.6, 0.0], [0.2, 0.3, 0.5]])
    distribution_loss(LOSSES[name], log_p, target, torch.tensor([by_rank, by_rank]), NO_LIMIT.expand(2)).backward()
    assert log_p.grad is not None
    assert torch.isfinite(log_p.grad).all()
    assert log_p.grad[0, 2] == 0.0
    assert (log_p.grad[1] != 0.0).any()


@pytest.mark.parametrize("by_rank", [False, True])
@pytest.mark.parametrize(("name", "distance"), [("tvd", 0.05), ("kl", 0.01), ("reverse_kl", 0.01), ("js", 0.01)])
def test_descent_reaches_the_target(name: LossName, distance: float, by_rank: bool) -> None:
    """Three words and *anything else*, which has most of the mass at first."""
    target = torch.tensor([[0.6, 0.3, 0.1]])
    logits = _descend(LOSSES[name], target, torch.tensor([[0.1, 0.2, 0.0, 1.5]]), by_rank)
    reached = torch.log_softmax(logits, -1)[:, :-1]
    expected = target[:, [1, 0, 2]] if by_rank else target
    assert tvd(reached, expected).item() < distance


LIMITS = torch.tensor([[0.1, 0.9, 0.0], [0.1, 0.9, 0.0], [0.1, 0.9, 0.0]], dtype=torch.float64)
"""A limit of 10 %, thrice, in a batch whose widest sample has three words."""


def test_to_stay_below_a_limit_is_no_mistake() -> None:
    # Above it, below it, and below it with a fifth of the mass elsewhere.
    log_p = torch.tensor([[0.4, 0.6, 0.0], [0.02, 0.98, 0.0], [0.02, 0.78, 0.0]], dtype=torch.float64).log()
    expected = torch.tensor([[0.1, 0.9, 0.0], [0.02, 0.98, 0.0], [0.02, 0.98, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(within_limit(log_p, LIMITS), expected)
    torch.testing.assert_close(tvd(log_p, within_limit(log_p, LIMITS)), excess(log_p[:, :2], LIMITS[:, :2]))
    torch.testing.assert_close(excess(log_p[:, :2], LIMITS[:, :2]), torch.tensor([0.3, 0.0, 0.2], dtype=torch.float64))


@pytest.mark.parametrize("name", ["tvd", "kl", "js"])
def test_a_word_under_its_limit_is_not_pulled_up_to_it(name: LossName) -> None:
    # Said in 2 of 100 answers, where 10 are allowed, and all others are what they may be.
    log_p = torch.tensor([[0.02, 0.98]], dtype=torch.float64).log().requires_grad_()
    limit, yes = LIMITS[:1, :2], torch.tensor([True])
    loss = distribution_loss(LOSSES[name], log_p, limit, ~yes, yes)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert distribution_loss(LOSSES[name], log_p, limit, ~yes, ~yes).item() > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_descent_brings_a_word_under_its_limit_and_all_mass_to_the_outcomes(name: LossName) -> None:
    start = torch.tensor([[2.0, 0.0, 1.0]])
    reached = torch.log_softmax(_descend(LOSSES[name], torch.tensor([[0.1, 0.9]]), start, False, at_most=True), -1)
    assert excess(reached[:, :-1], torch.tensor([[0.1, 0.9]])).item() < 0.05


def _descend(
    loss: Callable[[Tensor, Tensor], Tensor],
    target: Tensor,
    start: Tensor,
    by_rank: bool,
    steps: int = 400,
    at_most: bool = False,
) -> Tensor:
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        log_p = torch.log_softmax(logits, -1)[:, :-1]
        distribution_loss(loss, log_p, target, torch.tensor([by_rank]), torch.tensor([at_most])).backward()
        optimizer.step()
        schedule.step()
    return logits.detach()


def test_a_loss_that_gives_no_value_for_each_sample_is_refused() -> None:
    log_p, target = torch.tensor([[0.5, 0.4], [0.2, 0.3]]).log(), torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    no = torch.tensor([False, False])
    for loss in (lambda p, t: (p.exp() - t).abs(), lambda p, t: (p.exp() - t).abs().sum()):
        with pytest.raises(OutctlError, match="for 2 samples; give one for each"):
            distribution_loss(loss, log_p, target, no, no)
