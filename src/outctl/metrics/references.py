"""The best fixed shares by rank: what is answered by one who knows the order of the shares and ignores the numbers."""

from collections.abc import Sequence

import numpy as np


def ordinal_shares(targets: Sequence[Sequence[float]]) -> list[float]:
    """Return the shares q_1 >= q_2 >= ... that, given to each question's words by rank, have the least mean TVD.

    They minimise sum_r f_r(q_r) over sum_r q_r = 1, where f_r(q) is the mean over questions of |q - t_(r)| and t_(r) is a
    question's r-th largest share. Each f_r is convex and piecewise linear, and its slope at q tells how many t_(r) lie below.
    So all ranks stand at the same quantile of their shares, the one at which they sum to 1: for two words the median. Exact;
    between two order statistics, where every split is as good, the ranks move alike. Source: the separable convex allocation of
    Ibaraki and Katoh, Resource Allocation Problems, 1988, chapter 2.

    Args:
        targets: the shares of each question, all of as many words.
    """
    ranked = np.sort(np.asarray(targets, dtype=np.float64), axis=1)[:, ::-1]
    words = ranked.shape[1]
    # What each rank gets at each number of questions below it, from none of the share to all of it.
    levels = np.vstack([np.zeros(words), np.sort(ranked, axis=0), np.ones(words)])
    sums = levels.sum(axis=1)
    above = int(np.searchsorted(sums, 1.0))
    low, high = sums[above - 1], sums[above]
    part = (1.0 - low) / (high - low)
    return [float(share) for share in levels[above - 1] + part * (levels[above] - levels[above - 1])]
