"""The rows that the figures show, taken from the models' results."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from outctl.config.names import BASELINE, DEVIATION, REFERENCES
from outctl.pipeline.specs import Compared, Drawn
from outctl.report.blocks import rounded
from outctl.report.charts import PARTS

Row = dict[str, Any]
Results = Mapping[str, Any]
"""What `aggregate-model` wrote of one model."""
METRICS = {"mean TVD": "avg_tvd", "slope of control": "control_slope"}
"""The two numbers of a case, as the figures call them, with their columns."""
POSITIONS = {"prompts": "answers to neutral prompts", "texts": "held-out texts"}
"""Where retention is measured position by position, as the figures call it."""
TRAINED = {"loss": "loss", "TVD of samples kept back": "held_out_tvd", "slope of samples kept back": "held_out_slope"}
"""What a training logs on its way, as the figures call it, with its keys."""


def by_variant_and_case(results: Results) -> dict[tuple[str, str], Row]:
    """The rows of a model's summary, those of the references too, whose names no variant can have."""
    return {(row["variant"], row["case_type"]): row for row in results["summary"]}


def headline_rows(results: Results, variants: Sequence[str], cases: Sequence[str]) -> Iterator[Row]:
    """A row a case and variant: its mean distance, and what the better fixed rule scores."""
    rows = by_variant_and_case(results)
    for case in cases:
        fixed_rule = min(rows[name, case]["avg_tvd"] for name in REFERENCES)
        for variant in variants:
            row = rows[variant, case]
            numbers = {key: row[key] for key in ("num_trials", "avg_tvd", "avg_tvd_low", "avg_tvd_high")}
            ends = {f"control_slope{end}": row[f"control_slope{end}"] for end in ("", "_low", "_high")}
            yield {"model": row["model"], "variant": variant, "case": case, **numbers, "fixed_rule": fixed_rule, **ends}


def calibration_rows(results: Results, variants: Sequence[str], cases: Sequence[str]) -> Iterator[Row]:
    """A row a sample that gives its words any mass: the share asked for the first word, and the share given."""
    for case in cases:
        for variant in variants:
            for number, record in enumerate(results["records"][variant][case]):
                mass = sum(record["probabilities"])
                if mass > 0.0:
                    yield {
                        "model": record["model"],
                        "variant": variant,
                        "case": case,
                        "sample": record["sample_id"],
                        "number": number,
                        "words": " / ".join(record["words"]),
                        "asked": record["target"][0],
                        "even": rounded(1.0 / len(record["target"]), 6),
                        "given": rounded(record["probabilities"][0] / mass, 6),
                        "mass": rounded(mass, 6),
                        "tvd": rounded(record["tvd"], 6),
                    }


def distance_rows(results: Results, variants: Sequence[str], cases: Sequence[str]) -> Iterator[Row]:
    """A row a sample, nearest first, with the two parts of its distance.

    What goes elsewhere is 1 - m. What is left of the distance is what words get beyond their shares: over words and
    *anything else*, as much is given too much as too little, and *anything else* is asked for never.
    """
    elsewhere, split = PARTS
    for case in cases:
        for variant in variants:
            found = sorted(results["records"][variant][case], key=lambda record: float(record["tvd"]))
            for rank, record in enumerate(found, 1):
                yield {
                    "model": record["model"],
                    "variant": variant,
                    "case": case,
                    "panel": panel_of(case, variant),
                    "rank": rank,
                    "sample": record["sample_id"],
                    "tvd": rounded(record["tvd"], 6),
                    # Sums of float32 may be beyond 1 by their last digits.
                    elsewhere: rounded(min(max(record["other_mass"], 0.0), record["tvd"]), 6),
                    split: rounded(max(record["tvd"] - max(record["other_mass"], 0.0), 0.0), 6),
                    "tolerance": record["tolerance"],
                }


def panel_of(case: str, variant: str) -> str:
    """What a panel of one case and variant is called."""
    return f"{case} · {variant}"


def matrix_rows(results: Results, settings: Compared, cases: Sequence[str]) -> Iterator[Row]:
    """A row a metric, case and variant, with its interval and whether the variant trained on the case.

    Among the distances stands the share of samples that do not pass `base_model_deviation`, where it was measured.
    """
    rows = by_variant_and_case(results)
    for metric, column in METRICS.items():
        for case in cases:
            for variant in settings.variants:
                row = rows[variant, case]
                yield {
                    "model": row["model"],
                    "variant": variant,
                    "case": case,
                    "metric": metric,
                    "value": row[column],
                    "low": row[f"{column}_low"],
                    "high": row[f"{column}_high"],
                    "trained_on": case in settings.trained_on.get(variant, []),
                }
        if column == "avg_tvd" and results["base_model_deviation"] is not None:
            for row in results["base_model_deviation"]["summary"]:
                passing = {"value": row["pass_rate"], "low": row["pass_rate_high"], "high": row["pass_rate_low"]}
                failing = {key: None if rate is None else rounded(1.0 - rate, 6) for key, rate in passing.items()}
                place = {"model": row["model"], "variant": row["variant"], "case": DEVIATION, "metric": metric}
                yield {**place, **failing, "trained_on": False}


def training_rows(model: str, logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Row]:
    """A row an adapter, logged step and number.

    Args:
        model: the model.
        logs: the lines of `training.jsonl` by adapter.
    """
    for metric, key in TRAINED.items():
        for adapter, log in logs.items():
            for line in log:
                if line.get(key) is not None:
                    yield {
                        "model": model,
                        "variant": adapter,
                        "metric": metric,
                        "step": line["step"],
                        "samples": line["samples"],
                        "value": rounded(line[key], 6),
                        "low": rounded(line.get(f"{key}_low"), 6),
                        "high": rounded(line.get(f"{key}_high"), 6),
                    }


def retention_rows(results: Results, settings: Compared) -> Iterator[Row]:
    """A row an adapter: what training changed elsewhere, beside its distance on the first case that it trained on."""
    rows = by_variant_and_case(results)
    for row in results["retention"]["summary"]:
        case = settings.trained_on[row["variant"]][0]
        trained = rows[row["variant"], case]
        yield {**row, "case": case, **{f"avg_tvd{end}": trained[f"avg_tvd{end}"] for end in ("", "_low", "_high")}}


def position_rows(results: Results) -> Iterator[Row]:
    """A row a source, adapter and range of positions: how far training moved the model there."""
    for source, panel in POSITIONS.items():
        for row in results["retention"]["positions"]:
            if row["source"] == source:
                keys = ("model", "variant", "first", "last", "count", "kl", "kl_low", "kl_high")
                # Ranges double in length, and are drawn at their geometric mean.
                place = rounded((row["first"] * row["last"]) ** 0.5)
                yield {"panel": panel, "position": place, **{key: row[key] for key in keys}}


def deviation_rows(results: Results, variants: Sequence[str]) -> Iterator[Row]:
    """A row a sample that was to break off: where it first deviates, from the window's beginning in window lengths."""
    for variant in variants:
        for place, record in enumerate(results["base_model_deviation"]["records"].get(variant, [])):
            position = record["position"]
            yield {
                "model": record["model"],
                "variant": variant,
                "sample": record["sample_id"],
                "text": record["name"],
                "place": place,
                "wait": record["wait"],
                "window": record["window"],
                "position": position,
                "relative": None if position is None else rounded((position - record["wait"]) / record["window"]),
                "passed": record["passed"],
                "deviating_word": record["deviating_word"],
                "answer": record["answer"][:200],
            }


def sweep_rows(results: Results, settings: Drawn) -> Iterator[Row]:
    """A row a sweep, metric and variation, the base recipe among them, on the first case that it trains on."""
    rows = by_variant_and_case(results)
    for sweep in settings.ordered_sweeps():
        for metric, column in METRICS.items():
            for adapter, variation in settings.variations(sweep).items():
                case = settings.trained_on[adapter][0]
                row = rows[adapter, case]
                yield {
                    "model": row["model"],
                    "sweep": sweep,
                    "panel": f"{sweep} · {metric}",
                    "variant": adapter,
                    "variation": variation,
                    "base": adapter in settings.bases[sweep],
                    "case": case,
                    "metric": metric,
                    "value": row[column],
                    "low": row[f"{column}_low"],
                    "high": row[f"{column}_high"],
                }


def unswept(settings: Compared) -> list[str]:
    """The variants that no sweep made, the baseline first; sweeps have a figure of their own."""
    swept = {adapter for adapters in settings.sweeps.values() for adapter in adapters}
    return [variant for variant in settings.variants if variant == BASELINE or variant not in swept]
