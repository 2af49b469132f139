"""A model and variant over all of its cases, each case counting alike."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from outctl.config.names import BASELINE, REFERENCE_MODEL, TEMPERATURE
from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.metrics.sharing import Sharing, effect_on_mean
from outctl.metrics.statistics import mean_of_means_interval, mean_of_rates_interval
from outctl.storage.files import TableRow
from outctl.storage.intervals import Ends, with_intervals


@with_intervals
class VariantRow(TableRow):
    """How a row of `output_control_results.csv` begins: a model and variant over its cases, each case counting alike.

    Behind these stand `{case}_accuracy`, `{case}_avg_tvd`, `{case}_control_slope` and `{case}_within_slope` of every case, each
    with the ends of its interval in `_low` and `_high`.
    """

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, `temperature`, an adapter, or a reference."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_cases: int
    """Number of cases; of a reference, those in which it means anything."""
    num_trials: int
    """Samples of all cases."""
    num_correct: int
    """Those of them within tolerance."""
    accuracy: Annotated[
        float, Ends("interval, made of the cases' Wilson intervals and of how the cases' samples go together")
    ]
    """Mean over cases of the share within tolerance. For the interval, a case in which all samples are, or none, counts as fully
    dependent on the others."""
    avg_tvd: Annotated[
        float, Ends("bootstrap interval over samples; those of one number are drawn together from all cases")
    ]
    """Mean over cases of the mean total variation distance."""
    avg_mass: Annotated[
        float, Ends("bootstrap interval over samples; those of one number are drawn together from all cases")
    ]
    """Mean over cases of the mean probability of answering one of the words."""


def variant_row(
    model: str,
    variant: str,
    by_case: Mapping[str, Sequence[Record]],
    statistics: Statistics,
    seed: int,
    shared: Mapping[str, Sharing],
) -> VariantRow:
    """The row of a model and variant, from its records by case, and what the samples of each case have in common."""
    cases = list(by_case.values())
    drawn = statistics.confidence, statistics.bootstrap_samples, seed
    among = Sharing.by_number([shared[case] for case in by_case])

    def average(name: str, groups: Sequence[Sequence[float]]) -> dict[str, float]:
        return mean_of_means_interval(groups, *drawn, among).columns(name)

    held = [[record.within_tolerance for record in records] for records in cases]
    distances = [[record.tvd for record in records] for records in cases]
    effects = [
        effect_on_mean(shared[case], statistics.confidence, own, instead)
        for case, own, instead in zip(by_case, held, distances, strict=True)
    ]

    return VariantRow.model_validate(
        {
            "model": model,
            "variant": variant,
            "fine_tuned": is_fine_tuned(model, variant),
            "num_cases": len(cases),
            "num_trials": sum(map(len, cases)),
            "num_correct": sum(record.within_tolerance for records in cases for record in records),
            **mean_of_rates_interval(held, statistics.confidence, effects).columns("accuracy"),
            **average("avg_tvd", distances),
            **average("avg_mass", [[1.0 - record.other_mass for record in records] for records in cases]),
        }
    )


def is_fine_tuned(model: str, variant: str) -> bool:
    """Whether a row is of an adapter."""
    return model != REFERENCE_MODEL and variant not in (BASELINE, TEMPERATURE)
