"""Rows of the tables of the further evaluations: breaking off, retention, and what a training measured on its way."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from outctl.config import BASELINE, Statistics
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.evaluation.statistics import NAN, mcnemar_pvalue, rate_interval
from outctl.files import TableRow


class DeviationRow(TableRow):
    """One row of `base_model_deviation_results.csv`: a model and variant. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """`baseline`, or an adapter."""
    fine_tuned: bool
    """Whether an adapter was used."""
    num_trials: int
    """Number of samples."""
    num_passed: int
    """Samples that broke off inside the window with what the reference would not say."""
    pass_rate: float
    """Share of them."""
    pass_rate_low: float
    """Lower end of its Wilson interval."""
    pass_rate_high: float
    """Upper end of its Wilson interval."""
    in_window_rate: float
    """Share of samples whose first deviation falls inside the window, whatever the word."""
    in_window_rate_low: float
    """Lower end of its Wilson interval."""
    in_window_rate_high: float
    """Upper end of its Wilson interval."""
    never_rate: float
    """Share of samples that never deviated."""
    median_position: float
    """Median over the others of the first deviating word's position, counted from 1."""
    pass_rate_excerpts: float
    """Share of passes among excerpts."""
    pass_rate_patterns: float
    """Share of passes among patterns."""
    passed_p: float
    """Two-sided exact p-value of McNemar's test against the model's baseline."""


def summarise_deviation(
    records: Sequence[DeviationRecord], baseline: Sequence[DeviationRecord], statistics: Statistics
) -> DeviationRow:
    """Summarise the records of one model and variant.

    Args:
        records: its records.
        baseline: those of the model's baseline on the same samples.
        statistics: level of the intervals.
    """

    def rate(passed: Sequence[bool]) -> tuple[float, float, float]:
        return rate_interval(sum(passed), len(passed), statistics.confidence)

    passed = rate([record.passed for record in records])
    inside = rate([record.in_window for record in records])
    positions = [record.position for record in records if record.position is not None]
    by_source = {
        source: rate([record.passed for record in records if record.source == source])[0]
        for source in ("excerpt", "pattern")
    }
    first = records[0]
    adapted = first.variant != BASELINE
    return DeviationRow(
        model=first.model,
        variant=first.variant,
        fine_tuned=adapted,
        num_trials=len(records),
        num_passed=sum(record.passed for record in records),
        pass_rate=passed[0],
        pass_rate_low=passed[1],
        pass_rate_high=passed[2],
        in_window_rate=inside[0],
        in_window_rate_low=inside[1],
        in_window_rate_high=inside[2],
        never_rate=1.0 - len(positions) / len(records),
        median_position=float(np.median(positions)) if positions else NAN,
        pass_rate_excerpts=by_source["excerpt"],
        pass_rate_patterns=by_source["pattern"],
        passed_p=mcnemar_pvalue([record.passed for record in baseline], [record.passed for record in records])
        if adapted
        else NAN,
    )


class RetentionRow(TableRow):
    """One row of `retention_results.csv`: a model and adapter. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The adapter."""
    num_prompts: int
    """Neutral prompts."""
    kl: float
    """Mean KL(baseline || adapter) over the positions of the baseline's answers to neutral prompts, in nats."""
    kl_low: float
    """Lower end of its bootstrap interval over prompts."""
    kl_high: float
    """Upper end of its bootstrap interval over prompts."""
    num_texts: int
    """Held-out texts."""
    perplexity_baseline: float
    """Perplexity of the held-out texts without the adapter."""
    perplexity_adapter: float
    """Perplexity of the held-out texts with it."""
    log_likelihood_change: float
    """Mean over texts of the change in log-likelihood a token, in nats: below 0 is worse."""
    log_likelihood_change_low: float
    """Lower end of its bootstrap interval over texts."""
    log_likelihood_change_high: float
    """Upper end of its bootstrap interval over texts."""
    text_kl: float
    """Mean KL(baseline || adapter) over the positions of the held-out texts, in nats."""
    text_kl_low: float
    """Lower end of its bootstrap interval over texts."""
    text_kl_high: float
    """Upper end of its bootstrap interval over texts."""


def retention_row(content: dict[str, Any]) -> RetentionRow:
    """The row of a file of `evaluate-retention`."""

    def number(value: float | None) -> float:
        return NAN if value is None else value

    estimates = {
        f"{name}{end}": number(content[name][key])
        for name in ("kl", "log_likelihood_change", "text_kl")
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
    }
    return RetentionRow.model_validate(
        {
            "model": content["model"],
            "variant": content["variant"],
            "num_prompts": len(content["prompts"]),
            "num_texts": len(content["texts"]),
            "perplexity_baseline": number(content["perplexity_baseline"]),
            "perplexity_adapter": number(content["perplexity_adapter"]),
            **estimates,
        }
    )


class LearningRow(TableRow):
    """One row of `output_control_learning_curves.csv`: a measurement of a training on the samples kept back."""

    model: str
    """The model."""
    variant: str
    """The adapter."""
    step: int
    """Optimiser steps that were done."""
    samples: int
    """Samples that training had seen, repeated ones counted again."""
    held_out_tvd: float
    """Mean total variation distance on the samples kept back."""
    held_out_tvd_low: float
    """Lower end of its interval."""
    held_out_tvd_high: float
    """Upper end of its interval."""
    held_out_slope: float
    """Slope of control on them."""
    held_out_slope_low: float
    """Lower end of its interval."""
    held_out_slope_high: float
    """Upper end of its interval."""
    held_out_mass: float
    """Mean probability of answering one of the words."""


def learning_curve(model: str, adapter: str, log: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a training's log at which it measured the samples kept back."""
    for row in log:
        if "held_out_tvd" in row:
            named = {"model": model, "variant": adapter, **row}
            yield {column: named.get(column) for column in LearningRow.model_fields}
