"""Divergences: values by hand, agreement with scipy's relative entropy, and gradients."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch import Tensor

from outctl.metrics.divergences import (
    REVERSE_KL_FLOOR,
    conditional_tvd,
    excess,
    full_kl,
    js,
    kl,
    other_mass,
    reverse_kl,
    tvd,
)

Divergence = Callable[[Tensor, Tensor], Tensor]
ALL: list[Divergence] = [tvd, conditional_tvd, kl, reverse_kl, js]


def name_of(value: object) -> str | None:
    return getattr(value, "__name__", None)


def log_of(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def share(*target: float) -> Tensor:
    return torch.tensor(target, dtype=torch.float64)


@st.composite
def answers(draw: st.DrawFn, silent: bool = True) -> tuple[Tensor, Tensor]:
    """Probabilities of two to five words, summing to at most 1, and a target."""
    count = draw(st.integers(2, 5))
    smallest = 0 if silent else 1
    weights = np.array(draw(st.lists(st.integers(smallest, 1000), min_size=count, max_size=count)), dtype=float)
    rest = draw(st.integers(0 if weights.any() else 1, 1000))
    shares = np.array(draw(st.lists(st.integers(0, 20), min_size=count, max_size=count).filter(any)), dtype=float)
    return torch.tensor(weights / (weights.sum() + rest)), torch.tensor(shares / shares.sum())


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [(tvd, 0.2), (conditional_tvd, 0.075), (kl, 0.235531), (js, 0.077687)],
    ids=name_of,
)
def test_value_worked_out_by_hand(divergence: Divergence, expected: float) -> None:
    assert divergence(log_of(0.5, 0.3), share(0.7, 0.3)).item() == pytest.approx(expected, abs=1e-6)


def test_reverse_kl_worked_out_by_hand() -> None:
    # 0.5 ln(0.5 / 0.693) + 0.3 ln(0.3 / 0.297) + 0.2 ln(0.2 / 0.01)
    assert reverse_kl(log_of(0.5, 0.3), share(0.7, 0.3), floor=0.01).item() == pytest.approx(0.438950, abs=1e-6)


def test_even_split_scores_012_on_targets_from_30_to_70() -> None:
    target = torch.tensor([[percent / 100, 1 - percent / 100] for percent in range(30, 80, 10)], dtype=torch.float64)
    even = log_of(0.5, 0.5).expand_as(target)
    assert tvd(even, target).mean().item() == pytest.approx(0.12, abs=1e-12)


@pytest.mark.parametrize("divergence", [tvd, conditional_tvd, kl, js], ids=name_of)
def test_perfect_answer_scores_zero(divergence: Divergence) -> None:
    assert divergence(log_of(0.7, 0.2, 0.1), share(0.7, 0.2, 0.1)).item() == pytest.approx(0.0, abs=1e-15)


def test_reverse_kl_is_zero_at_the_floored_target() -> None:
    floored = [(1 - REVERSE_KL_FLOOR) * part for part in (0.7, 0.3)]
    assert reverse_kl(log_of(*floored), share(0.7, 0.3)).item() == pytest.approx(0.0, abs=1e-12)


def test_silent_model() -> None:
    silent, target = log_of(0.0, 0.0), share(0.7, 0.3)
    assert other_mass(silent).item() == 1.0
    assert tvd(silent, target).item() == 1.0
    assert math.isnan(conditional_tvd(silent, target).item())
    assert kl(silent, target).item() == math.inf
    assert reverse_kl(silent, target).item() == pytest.approx(-math.log(REVERSE_KL_FLOOR))
    assert js(silent, target).item() == pytest.approx(math.log(2))


def test_one_silent_sample_leaves_the_others_alone() -> None:
    log_p = torch.stack([log_of(0.0, 0.0), log_of(0.2, 0.2)])
    values = conditional_tvd(log_p, share(0.7, 0.3).expand(2, 2))
    assert math.isnan(values[0].item())
    assert values[1].item() == pytest.approx(0.2)


def test_conditional_tvd_survives_probabilities_that_underflow() -> None:
    log_p = torch.tensor([-2000.0, -2000.0 + math.log(3)], dtype=torch.float64)
    assert conditional_tvd(log_p, share(0.25, 0.75)).item() == pytest.approx(0.0, abs=1e-12)


@given(answers())
def test_tvd_is_half_the_l1_distance_over_words_and_the_rest(answer: tuple[Tensor, Tensor]) -> None:
    p, target = answer
    full_p, full_target = np.append(p, 1 - p.sum()), np.append(target, 0.0)
    found = tvd(p.log(), target).item()
    assert found == pytest.approx(np.abs(full_p - full_target).sum() / 2, abs=1e-12)
    assert -1e-12 <= found <= 1 + 1e-12


@given(answers(silent=False))
def test_conditional_tvd_is_tvd_of_the_renormalised_answer(answer: tuple[Tensor, Tensor]) -> None:
    p, target = answer
    found = conditional_tvd(p.log(), target).item()
    assert found == pytest.approx(tvd((p / p.sum()).log(), target).item(), abs=1e-12)


@given(answers())
def test_kl_is_the_relative_entropy_of_the_target(answer: tuple[Tensor, Tensor]) -> None:
    p, target = answer
    expected = rel_entr(target.numpy(), p.numpy()).sum()
    assert kl(p.log(), target).item() == pytest.approx(expected, abs=1e-12)


@given(answers(), st.floats(1e-6, 0.5))
def test_reverse_kl_is_finite_and_the_relative_entropy_of_the_answer(
    answer: tuple[Tensor, Tensor], floor: float
) -> None:
    p, target = answer
    full_p = np.append(p, max(0.0, 1 - p.sum().item()))
    full_target = np.append(np.maximum((1 - floor) * target.numpy(), floor), floor)
    found = reverse_kl(p.log(), target, floor).item()
    assert math.isfinite(found)
    assert found == pytest.approx(rel_entr(full_p, full_target).sum(), abs=1e-9)


@given(answers())
def test_js_is_the_mean_relative_entropy_to_the_middle(answer: tuple[Tensor, Tensor]) -> None:
    p, target = answer
    full_p, full_target = np.append(p, max(0.0, 1 - p.sum().item())), np.append(target, 0.0)
    middle = (full_p + full_target) / 2
    found = js(p.log(), target).item()
    assert found == pytest.approx((rel_entr(full_p, middle) + rel_entr(full_target, middle)).sum() / 2, abs=1e-9)
    assert -1e-12 <= found <= math.log(2) + 1e-12


@given(answers(), answers())
def test_tvd_and_js_are_symmetric_between_complete_distributions(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> None:
    size = min(len(one[1]), len(other[1]))
    a, b = (target[:size] + 0.01 for _, target in (one, other))
    a, b = a / a.sum(), b / b.sum()
    for divergence in (tvd, js):
        assert divergence(a.log(), b).item() == pytest.approx(divergence(b.log(), a).item(), abs=1e-12)


@given(answers())
def test_tvd_bounds_js_and_kl_from_below(answer: tuple[Tensor, Tensor]) -> None:
    p, target = answer
    distance = tvd(p.log(), target).item()
    assert kl(p.log(), target).item() >= 2 * distance**2 - 1e-12
    assert js(p.log(), target).item() >= distance**2 / 2 - 1e-12


@pytest.mark.parametrize("divergence", ALL, ids=name_of)
@given(answer=answers(silent=False), seed=st.integers(0, 2**16))
def test_neither_order_nor_padding_matters(divergence: Divergence, answer: tuple[Tensor, Tensor], seed: int) -> None:
    p, target = answer
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(p)))
    padded_p = torch.cat([p.log()[order], torch.full((2,), -torch.inf)])
    padded_target = torch.cat([target[order], torch.zeros(2, dtype=torch.float64)])
    expected = divergence(p.log(), target).item()
    assert divergence(padded_p, padded_target).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("divergence", ALL, ids=name_of)
def test_leading_axes_are_kept(divergence: Divergence) -> None:
    log_p = torch.tensor([[0.5, 0.3], [0.1, 0.2], [0.6, 0.4]], dtype=torch.float64).log()
    target = torch.tensor([[0.7, 0.3], [0.5, 0.5], [0.05, 0.95]], dtype=torch.float64)
    each = torch.stack([divergence(*row) for row in zip(log_p, target, strict=True)])
    assert torch.equal(divergence(log_p.view(3, 1, 2), target.view(3, 1, 2)), each.view(3, 1))


def test_other_mass_is_never_negative() -> None:
    log_p = torch.tensor([0.6, 0.4], dtype=torch.float32).log() + 1e-6
    assert log_p.exp().sum() > 1
    assert other_mass(log_p).item() == 0.0


@pytest.mark.parametrize("target", [(0.7, 0.3, 0.0), (0.05, 0.9, 0.05), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("divergence", ALL, ids=name_of)
def test_gradient_with_padding(divergence: Divergence, target: tuple[float, ...]) -> None:
    """The last outcome of the softmax is *anything else*; two padded words follow."""

    def loss(logits: Tensor) -> Tensor:
        words = torch.log_softmax(logits, -1)[..., :-1]
        return divergence(torch.cat([words, words.new_full((2,), -torch.inf)]), share(*target, 0.0, 0.0))

    logits = torch.tensor([0.3, -1.1, 0.8, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (logits,))


@pytest.mark.parametrize("divergence", ALL, ids=name_of)
def test_padded_entries_get_a_gradient_of_zero(divergence: Divergence) -> None:
    log_p = log_of(0.5, 0.3, 0.0, 0.0).requires_grad_()
    divergence(log_p, share(0.7, 0.3, 0.0, 0.0)).backward()
    assert log_p.grad is not None
    assert torch.isfinite(log_p.grad).all()
    assert log_p.grad[2:].tolist() == [0.0, 0.0]
    assert (log_p.grad[:2] != 0).any()


@pytest.mark.parametrize("divergence", [tvd, kl, reverse_kl, js], ids=name_of)
def test_gradient_is_finite_where_all_words_are_silent(divergence: Divergence) -> None:
    log_p = torch.full((2,), -torch.inf).requires_grad_()
    divergence(log_p, torch.tensor([0.7, 0.3])).backward()
    assert log_p.grad is not None
    assert torch.isfinite(log_p.grad).all()


def test_kl_has_the_gradient_of_soft_label_cross_entropy() -> None:
    log_p = log_of(0.5, 1e-30, 0.2).requires_grad_()
    kl(log_p, share(0.7, 0.3, 0.0)).backward()
    assert log_p.grad is not None
    assert log_p.grad.tolist() == [-0.7, -0.3, 0.0]


@pytest.mark.parametrize("divergence", ALL, ids=name_of)
def test_shapes_must_match(divergence: Divergence) -> None:
    with pytest.raises(ValueError, match=r"log_p has shape \(2,\), target \(1, 2\)"):
        divergence(log_of(0.5, 0.5), share(0.5, 0.5)[None])


@pytest.mark.parametrize("floor", [0.0, 1.0, -0.1, math.nan])
def test_reverse_kl_refuses_a_floor_outside_0_and_1(floor: float) -> None:
    with pytest.raises(ValueError, match="floor must lie between 0 and 1"):
        reverse_kl(log_of(0.5, 0.5), share(0.5, 0.5), floor)


@pytest.mark.parametrize(
    ("p", "limit", "expected"),
    [((0.05, 0.9), 0.1, 0.05), ((0.4, 0.5), 0.1, 0.4), ((0.4, 0.6), 0.4, 0.0), ((0.0, 0.0), 0.1, 1.0)],
)
def test_excess_is_the_distance_to_the_nearest_distribution_under_the_limit(
    p: tuple[float, float], limit: float, expected: float
) -> None:
    log_p, target = torch.tensor(p).log(), torch.tensor([limit, 1.0 - limit])
    assert excess(log_p, target).item() == pytest.approx(expected, abs=1e-6)
    allowed = torch.linspace(0.0, limit, 10_001)
    nearest = tvd(log_p.expand(10_001, 2), torch.stack([allowed, 1.0 - allowed], -1)).min()
    assert nearest.item() == pytest.approx(expected, abs=1e-4)


def distributions(rows: int, size: int, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.tensor(random.dirichlet([0.3] * size, rows))


def test_kl_over_all_tokens_is_scipys_relative_entropy() -> None:
    p, q = distributions(6, 40, seed=1), distributions(6, 40, seed=2)
    expected = rel_entr(p.numpy(), q.numpy()).sum(-1)
    assert full_kl(p.log(), q.log()).numpy() == pytest.approx(expected)
    # 0.7 ln(0.7 / 0.5) + 0.3 ln(0.3 / 0.5), and the other way round
    assert full_kl(log_of(0.7, 0.3), log_of(0.5, 0.5)).item() == pytest.approx(0.082283, abs=1e-6)
    assert full_kl(log_of(0.5, 0.5), log_of(0.7, 0.3)).item() == pytest.approx(0.087177, abs=1e-6)


def test_kl_of_a_distribution_from_itself_is_exactly_zero() -> None:
    log_p = distributions(6, 40, seed=1).float().log().clamp_min(-200.0)
    assert full_kl(log_p, log_p.clone()).tolist() == [0.0] * 6


def test_gradient_of_kl_over_all_tokens_pulls_each_logit_to_its_probability() -> None:
    p = distributions(3, 12, seed=1)
    logits = torch.tensor(np.random.default_rng(2).normal(size=(3, 12)), requires_grad=True)
    full_kl(p.log(), logits.log_softmax(-1)).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - p)


def test_kl_over_all_tokens_needs_equal_shapes() -> None:
    with pytest.raises(ValueError, match=r"log_p has shape \(2, 3\), log_q \(3,\)"):
        full_kl(torch.zeros(2, 3), torch.zeros(3))
