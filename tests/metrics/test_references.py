"""The best fixed shares by rank."""

import numpy as np
import pytest
from scipy import optimize

from outctl.metrics.references import ordinal_shares


def test_of_two_words_the_larger_share_is_the_median() -> None:
    targets = [[0.6, 0.4], [0.05, 0.95], [0.75, 0.25]]
    assert ordinal_shares(targets) == pytest.approx([0.75, 0.25])
    # Between the middle ones all are as good; the middle of them is taken.
    assert ordinal_shares([*targets, [0.2, 0.8]]) == pytest.approx([0.775, 0.225])
    assert ordinal_shares([[0.5, 0.5]]) == pytest.approx([0.5, 0.5])


def test_of_three_words_medians_that_do_not_sum_to_one_are_moved_alike() -> None:
    # Largest 0.8, 0.6, 0.5; then 0.15, 0.3, 0.3; then 0.05, 0.1, 0.2: the medians are 0.6, 0.3 and 0.1, which sum to 1.
    targets = [[0.15, 0.8, 0.05], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5]]
    assert ordinal_shares(targets) == pytest.approx([0.6, 0.3, 0.1])
    # Medians 0.5, 0.25 and 0.2 leave 0.05, which each rank takes a part of on its way to 0.7, 0.4 and 0.25.
    targets = [[0.5, 0.25, 0.25], [0.4, 0.4, 0.2], [0.7, 0.2, 0.1]]
    part = 0.05 / (0.2 + 0.15 + 0.05)
    assert ordinal_shares(targets) == pytest.approx([0.5 + 0.2 * part, 0.25 + 0.15 * part, 0.2 + 0.05 * part])


@pytest.mark.parametrize(("words", "questions"), [(2, 7), (3, 8), (4, 5), (8, 6)])
def test_no_shares_by_rank_are_nearer(words: int, questions: int) -> None:
    ranked = np.sort(np.random.default_rng(words).dirichlet(np.ones(words), questions))[:, ::-1]
    shares = np.array(ordinal_shares(ranked[:, ::-1].tolist()))
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(shares) <= 1e-12).all()
    # As a linear program: the least sum of e_nr with e_nr >= |q_r - t_nr|, and shares that sum to 1.
    beyond = -np.eye(words * questions)
    each = np.tile(np.eye(words), (questions, 1))
    found = optimize.linprog(
        np.concatenate([np.zeros(words), np.ones(words * questions)]),
        A_ub=np.block([[each, beyond], [-each, beyond]]),
        b_ub=np.concatenate([ranked.ravel(), -ranked.ravel()]),
        A_eq=[np.concatenate([np.ones(words), np.zeros(words * questions)])],
        b_eq=[1.0],
    )
    assert np.abs(ranked - shares).sum() == pytest.approx(found.fun)
