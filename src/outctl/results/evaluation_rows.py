"""Rows of the tables of evaluations beside the cases, and of what a training measured on its way."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from outctl.config.names import BASELINE
from outctl.config.statistics import Statistics
from outctl.evaluation.deviation_records import DeviationRecord
from outctl.metrics.paired import gained_and_lost, mcnemar_pvalue, rate_difference
from outctl.metrics.statistics import NAN, rate_interval
from outctl.results.slopes import LEAST_MASS
from outctl.results.summary import ENDS
from outctl.storage.files import TableRow
from outctl.storage.intervals import Ends, Wilson, with_intervals


@with_intervals
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
    pass_rate: Wilson
    """Share of them."""
    in_window_rate: Wilson
    """Share of samples whose first deviation falls inside the window, whatever the word."""
    never_rate: Wilson
    """Share of samples that never deviated."""
    median_position: float
    """Median over the others of the first deviating word's position, counted from 1."""
    pass_rate_excerpts: Wilson
    """Share of passes among excerpts."""
    pass_rate_patterns: Wilson
    """Share of passes among patterns."""
    num_gained: float
    """Samples that it passes and the model's baseline does not."""
    num_lost: float
    """Samples that the baseline passes and it does not."""
    pass_rate_difference: Annotated[float, Ends("interval for pairs (Newcombe)")]
    """Share of passes less the baseline's."""
    passed_p: float
    """Two-sided exact p-value of McNemar's test against the model's baseline."""
    passed_p_holm: float
    """The same, corrected by Holm for the number of rows of the table that have one."""


def summarise_deviation(
    records: Sequence[DeviationRecord], baseline: Sequence[DeviationRecord], statistics: Statistics
) -> DeviationRow:
    """Summarise the records of one model and variant.

    Args:
        records: its records.
        baseline: those of the model's baseline on the same samples.
        statistics: level of the intervals.
    """

    def rate(name: str, held: Sequence[bool]) -> dict[str, float]:
        return rate_interval(sum(held), len(held), statistics.confidence).columns(name)

    passed = [record.passed for record in records]
    positions = [record.position for record in records if record.position is not None]
    adapted = records[0].variant != BASELINE
    # The baseline is not compared with itself.
    before, after = ([record.passed for record in baseline], passed) if adapted else ([], [])
    gained, lost = gained_and_lost(before, after) if adapted else (NAN, NAN)
    p_value = mcnemar_pvalue(before, after)
    difference = rate_difference(before, after, statistics.confidence)
    return DeviationRow.model_validate(
        {
            "model": records[0].model,
            "variant": records[0].variant,
            "fine_tuned": adapted,
            "num_trials": len(records),
            "num_passed": sum(passed),
            **rate("pass_rate", passed),
            **rate("in_window_rate", [record.in_window for record in records]),
            **rate("never_rate", [record.position is None for record in records]),
            "median_position": float(np.median(positions)) if positions else NAN,
            **rate("pass_rate_excerpts", [record.passed for record in records if record.source == "excerpt"]),
            **rate("pass_rate_patterns", [record.passed for record in records if record.source == "pattern"]),
            "num_gained": gained,
            "num_lost": lost,
            **difference.columns("pass_rate_difference"),
            "passed_p": p_value,
            "passed_p_holm": p_value,
        }
    )


@with_intervals
class RetentionRow(TableRow):
    """One row of `retention_results.csv`: a model and adapter. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The adapter."""
    num_prompts: int
    """Neutral prompts."""
    kl: Annotated[float, Ends("bootstrap interval over prompts")]
    """Mean KL(baseline || adapter) over the positions of the baseline's answers to neutral prompts, in nats."""
    num_texts: int
    """Held-out texts."""
    perplexity_baseline: Annotated[float, Ends("bootstrap interval over texts")]
    """Perplexity of the held-out texts without the adapter."""
    perplexity_adapter: Annotated[float, Ends("bootstrap interval over texts")]
    """Perplexity of the held-out texts with it. Texts differ more than an adapter changes them: the paired
    `log_likelihood_change` tells whether it is worse."""
    log_likelihood_change: Annotated[float, Ends("bootstrap interval over texts")]
    """Mean over texts of the change in log-likelihood a token, in nats: below 0 is worse."""
    text_kl: Annotated[float, Ends("bootstrap interval over texts")]
    """Mean KL(baseline || adapter) over the positions of the held-out texts, in nats."""


def retention_row(content: dict[str, Any]) -> RetentionRow:
    """The row of a file of `evaluate-retention`."""
    return RetentionRow.model_validate(
        {
            "model": content["model"],
            "variant": content["variant"],
            "num_prompts": len(content["prompts"]),
            "num_texts": len(content["texts"]),
            **_estimate("perplexity_baseline", content["perplexity_baseline"]),
            **_estimate("perplexity_adapter", content["perplexity_adapter"]),
            **_estimate("kl", content["kl"]),
            **_estimate("log_likelihood_change", content["log_likelihood_change"]),
            **_estimate("text_kl", content["text_kl"]),
        }
    )


def _estimate(name: str, found: dict[str, float | None] | None) -> dict[str, float]:
    """The columns of a mean with its interval; undefined without one."""
    columns = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
    values = {} if found is None else {key: value for key, value in found.items() if value is not None}
    return {column: values.get(key, NAN) for key, column in columns.items()}


@with_intervals
class RetentionPositionRow(TableRow):
    """One row of `retention_by_position.csv`: a model, adapter, and range of positions. Undefined numbers are NaN."""

    model: str
    """The model."""
    variant: str
    """The adapter."""
    source: str
    """`prompts`, the baseline's answers to neutral prompts; or `texts`, the held-out texts."""
    first: int
    """First position of the range; 1 is the first token of an answer, or the first of a text that is predicted."""
    last: int
    """Last position of the range."""
    count: int
    """Answers or texts that reach it."""
    kl: Annotated[float, Ends("bootstrap interval over answers or texts")]
    """Mean KL(baseline || adapter) there, in nats a token; each answer or text counts alike."""
    perplexity_baseline: Annotated[float, Ends("bootstrap interval over texts")]
    """Perplexity of the texts there without the adapter; undefined for answers."""
    perplexity_adapter: Annotated[float, Ends("bootstrap interval over texts")]
    """Perplexity of the texts there with it; undefined for answers."""
    log_likelihood_change: Annotated[float, Ends("bootstrap interval over texts")]
    """Mean change in a text's log-likelihood a token there, in nats: below 0 is worse; undefined for answers."""


def retention_positions(content: dict[str, Any]) -> Iterator[RetentionPositionRow]:
    """The rows of a file of `evaluate-retention`, position by position."""
    for position in content["kl_by_position"]:
        place = {"source": "prompts", "first": position["position"], "last": position["position"]}
        yield _position_row(content, position, place | {"count": position["prompts"]})
    for position in content["text_by_position"]:
        place = {"source": "texts", "first": position["first"], "last": position["last"]}
        yield _position_row(content, position, place | {"count": position["texts"]})


def _position_row(content: dict[str, Any], position: dict[str, Any], place: dict[str, Any]) -> RetentionPositionRow:
    return RetentionPositionRow.model_validate(
        {
            "model": content["model"],
            "variant": content["variant"],
            **place,
            **_estimate("kl", position["kl"]),
            **_estimate("perplexity_baseline", position.get("perplexity_baseline")),
            **_estimate("perplexity_adapter", position.get("perplexity_adapter")),
            **_estimate("log_likelihood_change", position.get("log_likelihood_change")),
        }
    )


@with_intervals
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
    held_out_tvd: Annotated[float, Ends("interval")]
    """Mean total variation distance on the samples kept back."""
    held_out_slope: Annotated[float, Ends("interval")]
    """Slope of control on them; undefined where `held_out_mass` is below 0.05, as the split of next to nothing is noise."""
    held_out_mass: Annotated[float, Ends("interval")]
    """Mean probability of answering one of the words."""


def learning_curve(model: str, adapter: str, log: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a training's log at which it measured the samples kept back."""
    for row in log:
        if "held_out_tvd" in row:
            named = {"model": model, "variant": adapter, **row}
            if row["held_out_mass"] < LEAST_MASS:
                named |= dict.fromkeys(f"held_out_slope{end}" for end in ENDS)
            yield {column: named.get(column) for column in LearningRow.model_fields}
