"""Questions that share words, letters or topics are missed alike: how many independent questions they are worth.

Two questions count as dependent if they have anything in common, whatever else they have: the dyadic cluster-robust
variance, sum over all dependent pairs (i, j) of u_i u_j, with u the influence of each sample on a mean or slope. With a
single topic a question it is the variance by clusters. Sources: Aronow, Samii and Assenova 2015, doi 10.1093/pan/mpv018; for
one cluster each, Cameron and Miller 2015, doi 10.3368/jhr.50.2.317.

Its ratio to the variance of independent samples is the *design effect*. Means, slopes, rates and tests all use it in one way:
n samples are worth n / effect. Source: Korn and Graubard 1998, Survey Methodology 24, 193-201, who also correct for the few
clusters that the variance is estimated from, by the ratio of Student's t quantiles.
"""

from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt


class Sharing:
    """What samples have in common.

    Args:
        subjects: what each sample is about; one without any has nothing in common with another.
    """

    def __init__(self, subjects: Sequence[Collection[str]]) -> None:
        self.subjects: list[set[str]] = [set(own) for own in subjects]

    def of(self, numbers: Sequence[int]) -> "Sharing":
        """Some of the samples."""
        if list(numbers) == list(range(len(self.subjects))):
            return self
        return Sharing([self.subjects[number] for number in numbers])

    @classmethod
    def by_number(cls, groups: "Sequence[Sharing]") -> "Sharing":
        """What the first, second, ... samples of all groups have in common with those of other numbers."""
        numbered = zip_longest(*(group.subjects for group in groups), fillvalue=())
        return cls([set().union(*own) for own in numbered])

    def effect(self, influence: npt.ArrayLike, confidence: float) -> float:
        """The design effect of an estimate: so many of these samples are worth a single independent one.

        Both variances are taken about estimates, which makes each too small by the share of pairs that it sums over: 1 / n of
        independent samples, 1 / G of G equal clusters. Dividing by what is left is the usual G / (G - 1).

        Args:
            influence: of each sample on the estimate, up to a factor; x - mean(x) for a mean.
            confidence: level at which Student's quantiles are compared.

        Returns:
            At least 1, as the samples may only be thought to be worth less; 1 where nothing varies or nothing is shared, and
            where all samples are about just the same, which is then all that the estimate is about; NaN where all samples
            share with all others otherwise, which tells nothing about further ones.
        """
        from scipy import stats

        u = np.asarray(influence, dtype=np.float64)
        count = u.size
        if count != len(self.subjects):
            raise ValueError(f"{count} samples, and subjects of {len(self.subjects)}")
        together = self._together
        if together.nnz == count or all(own == self.subjects[0] for own in self.subjects):
            return 1.0
        paired = together.nnz / count**2
        if paired == 1.0:
            return float("nan")
        if np.ptp(u) < 1e-12:
            return 1.0
        alone = float(u @ u) / (1.0 - 1.0 / count)
        ratio = max(1.0, float(u @ (together @ u)) / (1.0 - float(paired)) / alone)
        few, many = (float(stats.t.ppf(0.5 + confidence / 2.0, own - 1.0)) for own in (self._clusters(), count))
        return ratio * float((few / many) ** 2)

    @cached_property
    def _together(self) -> Any:
        """Sparse matrix (n, n) with 1 where two samples have something in common, and for each with itself."""
        from scipy import sparse

        columns = {name: number for number, name in enumerate(set(chain.from_iterable(self.subjects)))}
        rows = [number for number, own in enumerate(self.subjects) for _ in own]
        held = [columns[name] for own in self.subjects for name in own]
        shape = (len(self.subjects), max(len(columns), 1))
        incidence = sparse.csr_array((np.ones(len(rows)), (rows, held)), shape=shape)
        found = ((incidence @ incidence.T) + sparse.eye_array(shape[0], format="csr")) > 0
        return found.astype(np.float64)

    def _clusters(self) -> float:
        """Number of equal clusters that are as unevenly filled as these, at most one a sample: (sum n_g)² / sum n_g²."""
        counts = [float(own) for own in self._counts()]
        return min(float(len(self.subjects)), sum(counts) ** 2 / sum(count**2 for count in counts))

    def _counts(self) -> list[int]:
        """How many samples each subject has; those without any are subjects of their own."""
        found: dict[str, int] = {}
        for name in chain.from_iterable(self.subjects):
            found[name] = found.get(name, 0) + 1
        return [*found.values(), *(1 for own in self.subjects if not own)]


def effect_on_mean(
    shared: Sharing | None, confidence: float, values: Sequence[float], instead: Sequence[float] | None = None
) -> float:
    """Return the design effect of a mean, 1 without anything shared.

    Args:
        shared: what the samples have in common.
        confidence: as in `Sharing.effect`.
        values: whose mean it is, such as whether each sample is within tolerance.
        instead: other values of the same samples, such as distances, which tell where all `values` are alike.
    """
    varied = np.asarray(values, dtype=np.float64)
    if shared is None or not varied.size:
        return 1.0
    if instead is not None and np.ptp(varied) == 0.0:
        varied = np.asarray(instead, dtype=np.float64)
    return shared.effect(varied - varied.mean(), confidence)
