"""A model and variant over all of its cases, each case counting alike."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from outctl.config.names import BASELINE, REFERENCE_MODEL, TEMPERATURE
from outctl.config.statistics import Statistics
from outctl.evaluation.records import Record
from outctl.metrics.statistics import mean_of_means_interval, mean_of_rates_interval
from outctl.storage.files import TableRow
from outctl.storage.intervals import Ends, with_intervals


@with_intervals
class VariantRow(TableRow):
    """How a row of `output_control_results.csv` begins: a model and variant over its cases, each case counting alike.

    Behind these stand `{case}_accuracy`, `{case}_avg_tvd` and `{case}_control_slope` of every case, each with the ends of its
    interval in `_low` and `_high`.
    """

    model: str
    """The model; `reference` in reference rows."""
    variant: str
    """`baseline`, `temperature`, an adapter, or a reference."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_cases: int
    """Number of cases."""
    num_trials: int
    """Samples of all cases."""
    num_correct: int
    """Those of them within tolerance."""
    accuracy: Annotated[
        float, Ends("interval, made of the cases' Wilson intervals and of how the cases' samples go together")
    ]
    """Mean over cases of the share within tolerance."""
    avg_tvd: Annotated[
        float, Ends("bootstrap interval over samples; those of one number are drawn together from all cases")
    ]
    """Mean over cases of the mean total variation distance."""
    avg_mass: Annotated[
        float, Ends("bootstrap interval over samples; those of one number are drawn together from all cases")
    ]
    """Mean over cases of the mean probability of answering one of the words."""


def variant_row(
    model: str, variant: str, by_case: Mapping[str, Sequence[Record]], statistics: Statistics, seed: int
) -> VariantRow:
    """The row of a model and variant, from its records by case."""
    cases = list(by_case.values())

    def average(name: str, groups: Sequence[Sequence[float]]) -> dict[str, float]:
        found = mean_of_means_interval(groups, statistics.confidence, statistics.bootstrap_samples, seed)
        return found.columns(name)

    return VariantRow.model_validate(
        {
            "model": model,
            "variant": variant,
            "fine_tuned": is_fine_tuned(model, variant),
            "num_cases": len(cases),
            "num_trials": sum(map(len, cases)),
            "num_correct": sum(record.within_tolerance for records in cases for record in records),
            **mean_of_rates_interval(
                [[record.within_tolerance for record in records] for records in cases], statistics.confidence
            ).columns("accuracy"),
            **average("avg_tvd", [[record.tvd for record in records] for records in cases]),
            **average("avg_mass", [[1.0 - record.other_mass for record in records] for records in cases]),
        }
    )


def is_fine_tuned(model: str, variant: str) -> bool:
    """Whether a row is of an adapter."""
    return model != REFERENCE_MODEL and variant not in (BASELINE, TEMPERATURE)
