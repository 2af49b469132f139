"""Columns of the metrics that stand beside those that are always there."""

from collections.abc import Sequence

import torch

from outctl.config.registries import METRICS
from outctl.config.statistics import Statistics
from outctl.errors import OutctlError
from outctl.evaluation.records import Record
from outctl.metrics.divergences import within_limit
from outctl.metrics.sharing import Sharing
from outctl.metrics.statistics import mean_interval


def metric_columns(
    metrics: Sequence[str],
    records: Sequence[Record],
    statistics: Statistics,
    seed: int,
    shared: Sharing | None = None,
) -> dict[str, float]:
    """Mean of each metric over the records, with its interval; NaN where a metric is undefined for all of them.

    A metric compares what the record of a sample holds: the probabilities with the target, by rank where the model picked the
    words, and with the nearest shares under the limit where one is asked for.

    Raises:
        OutctlError: a metric gives another number of values than it gets samples.
    """
    columns: dict[str, float] = {}
    for name in metrics:
        values = [_value(name, record) for record in records]
        defined = {number: value for number, value in enumerate(values) if value == value}
        among = shared.of(list(defined)) if shared else None
        drawn = statistics.confidence, statistics.bootstrap_samples, seed
        interval = mean_interval(list(defined.values()), *drawn, among)
        columns |= interval.columns(f"avg_{name}")
    return columns


def _value(name: str, record: Record) -> float:
    log_p = torch.tensor([record.probabilities], dtype=torch.float64).log()
    target = torch.tensor([record.target], dtype=torch.float64)
    value = METRICS[name](log_p, within_limit(log_p, target) if record.at_most else target)
    if tuple(value.shape) != (1,):
        raise OutctlError(
            f"the metric {name!r} gives values of shape {tuple(value.shape)} for 1 sample; give one for each"
        )
    return float(value.item())
