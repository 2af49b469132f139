"""The sentence that answers the question, for trainings that worked, failed, and did something else."""

from typing import Any

import pytest

from outctl.report.conclusion import Tables, conclude, decimals, judge
from outctl.results.variants import Compared

BAR = 0.24


def row(model: str, variant: str, case: str, tvd: float, slope: float | None, **others: Any) -> dict[str, Any]:
    """A row of the tables, its intervals 0.02 and 0.1 wide on either side."""
    slopes = {
        f"{name}{end}": None if slope is None else slope + more
        for name in ("control_slope", "within_slope")
        for end, more in {"": 0.0, "_low": -0.1, "_high": 0.1}.items()
    }
    own = {
        "model": model,
        "variant": variant,
        "case_type": case,
        "num_trials": 50,
        "num_binding": None,
        "avg_tvd": tvd,
        "avg_tvd_low": max(tvd - 0.02, 0.0),
        "avg_tvd_high": min(tvd + 0.02, 1.0),
        "reference_difference_low": tvd - 0.02 - BAR,
        "reference_difference_high": tvd + 0.02 - BAR,
        "avg_mass": 0.9,
    }
    return own | slopes | others


REFERENCES = [row("reference", name, "given", BAR + more, 0.0) for name, more in (("uniform", 0.1), ("ordinal", 0.0))]
# Below 5 % of the mass, slopes are undefined.
BASELINE = row("small", "baseline", "given", 0.98, None, avg_mass=0.02)
ORDERED = {"within_slope": 0.0, "within_slope_low": -0.05, "within_slope_high": 0.05}
"""The slope within ranks of an answer that only knows which share is the largest."""


def tables(
    rows: list[dict[str, Any]], *adapters: str, cases: tuple[str, ...] = ("given",), controls: tuple[str, ...] = ()
) -> Tables:
    trained = [*adapters, *controls]
    settings = Compared(
        variants=["baseline", *trained], trained_on={adapter: ["given"] for adapter in trained}, sweeps={}
    )
    return Tables([*REFERENCES, *rows], settings, adapters, cases, 0.95)


@pytest.mark.parametrize(
    ("tvd", "slope", "others", "verdict"),
    [
        (0.10, 1.0, {}, "yes"),
        (0.10, 0.7, {}, "yes"),
        # An even split has a small distance and no slope.
        (0.20, 0.0, {}, "no"),
        (0.10, 0.4, {}, "partly"),
        (0.10, 1.6, {}, "partly"),
        # Fixed shares by rank have a slope too, and may be near.
        (0.10, 0.8, ORDERED, "partly"),
        (0.30, 0.8, ORDERED, "partly"),
        (0.10, 0.0, ORDERED, "no"),
        # The slope within ranks counts, not the one over all samples.
        (0.10, 1.7, {"within_slope_low": 0.9, "within_slope_high": 1.2}, "yes"),
        (0.10, 1.0, {"within_slope_low": 0.4, "within_slope_high": 1.2}, "partly"),
        # The interval reaches what the best fixed rule scores.
        (0.23, 1.0, {}, "partly"),
        (0.60, 0.9, {}, "partly"),
        # Almost never one of the words.
        (0.99, 0.9, {"avg_mass": 0.06}, "no"),
        (0.99, None, {"avg_mass": 0.01}, "no"),
        (0.10, None, {"avg_mass": 0.01}, "no"),
        (0.60, -0.5, {}, "no"),
        (1.00, None, {}, "no"),
        (0.10, None, {}, "undecided"),
        # The words that the model picked are proven to be its likeliest, or not.
        (0.10, 1.0, {"proven": 0.96}, "yes"),
        (0.10, 1.0, {"proven": 0.9}, "undecided"),
        (0.60, -0.5, {"proven": 0.9}, "undecided"),
        (0.10, 1.0, {"reference_difference_low": None, "reference_difference_high": None}, "undecided"),
        # What the samples have in common tells more, or less, than the two means by themselves.
        (0.23, 1.0, {"reference_difference_high": -0.001}, "yes"),
        (0.10, 1.0, {"reference_difference_high": 0.001}, "partly"),
    ],
)
def test_what_counts_as_control(tvd: float, slope: float | None, others: dict[str, Any], verdict: str) -> None:
    assert judge(row("small", "tuned", "given", tvd, slope, **others)) == verdict


def test_numbers_have_a_true_minus_and_zero_has_none() -> None:
    shown = [decimals(value, 3) for value in (-0.0004, -0.0006, 0.25, -0.0)]
    assert shown == ["0.000", "−0.001", "0.250", "0.000"]


def test_a_training_that_worked() -> None:
    found = conclude(tables([BASELINE, row("small", "tuned", "given", 0.1, 1.0)], "tuned"))
    assert found.verdict == "yes"
    assert found.sentence == (
        "Yes, once trained for it: in given, small with the adapter tuned comes to a mean distance (TVD) of 0.100 (95 % "
        "interval 0.080 to 0.120) from the shares asked for, and follows how much larger the largest share is (slope within "
        "ranks 1.00, 0.90 to 1.10); before training it was 0.980, and the best fixed rule, ordinal, scores 0.240."
    )
    assert [value for value, _ in found.facts] == ["0.980 → 0.100", "1.00", "1.00", "90 %", "1 of 1"]


@pytest.mark.parametrize(
    ("tvd", "slope", "begins", "holds"),
    [
        (0.9, 0.0, "No, not after this training: in given, small with the adapter tuned is at", "0.900 (95 % interval"),
        (0.15, 0.0, "No: in given", "do not follow those asked for (slope 0.00, −0.10 to 0.10"),
        (
            0.30,
            0.8,
            "In part: in given",
            "follows how much larger the largest share is (slope within ranks 0.80, 0.70 to 0.90), but",
        ),
        (0.30, 0.4, "In part: in given", "follow those asked for (slope 0.40, 0.30 to 0.50"),
        (
            0.10,
            0.4,
            "In part: in given",
            "0.120) from the shares asked for, but does not reliably follow how much larger the",
        ),
        (1.0, None, "No, not after this training", "1.000 (95 % interval 0.980 to 1.000)"),
    ],
)
def test_trainings_that_failed(tvd: float, slope: float | None, begins: str, holds: str) -> None:
    sentence = conclude(tables([BASELINE, row("small", "tuned", "given", tvd, slope)], "tuned")).sentence
    assert sentence.startswith(begins)
    assert holds in sentence
    assert sentence.endswith("before training it was 0.980, and the best fixed rule, ordinal, scores 0.240.")


def test_a_model_that_could_do_it_before() -> None:
    rows = [row("small", "baseline", "given", 0.1, 1.0), row("small", "tuned", "given", 0.08, 1.0)]
    assert conclude(tables(rows, "tuned")).sentence.startswith("Yes, even without training: in given, small with")


def test_no_adapter() -> None:
    found = conclude(tables([BASELINE]))
    assert found.verdict == "no"
    assert found.sentence == (
        "No, not without training: in given, small, untrained, is at a mean distance (TVD) of 0.980 (95 % interval 0.960 to "
        "1.000) from the shares asked for; the best fixed rule, ordinal, scores 0.240."
    )
    assert "→" not in found.facts[0][0]


def test_a_single_sample_decides_nothing() -> None:
    ends = ("avg_tvd_low", "avg_tvd_high", "reference_difference_low", "reference_difference_high")
    alone = {"num_trials": 1, **dict.fromkeys(ends)}
    found = conclude(tables([BASELINE, row("small", "tuned", "given", 0.1, None, **alone)], "tuned"))
    assert found.verdict == "undecided"
    assert found.sentence.endswith("from the shares asked for in given, but samples are too few (1) for an interval.")


def many(distances: list[float], slope: float = 1.0) -> list[dict[str, Any]]:
    rows = []
    for number, tvd in enumerate(distances):
        rows += [row(f"m{number}", "baseline", "given", 0.9, 0.0), row(f"m{number}", "tuned", "given", tvd, slope)]
    return rows


def test_many_models_are_counted_and_their_mean_has_an_interval_over_them() -> None:
    found = conclude(tables(many([0.1, 0.1, 0.7, 0.1]), "tuned"))
    assert found.verdict == "partly"
    # Student's t with 3 degrees of freedom: 3.182 standard errors of 0.15 around 0.25, and no distance is below 0.
    assert found.sentence == (
        "Some can, once trained for it: 3 of 4 models, each with its adapter, control their distribution in the case that "
        "they trained on (1 more in part), at a mean distance (TVD) of 0.250 (95 % interval over them 0.000 to 0.727) from "
        "the shares asked for; before training it was 0.900, and the best fixed rule scores 0.240."
    )
    assert conclude(tables(many([0.1, 0.12]), "tuned")).sentence.startswith("Yes, once trained for it: all of 2 models")
    none = conclude(tables(many([0.2, 0.2], slope=0.0), "tuned"))
    assert none.verdict == "no"
    assert none.sentence.startswith("No: none of 2 models")


def test_many_models_without_adapters() -> None:
    rows = [row(f"m{number}", "baseline", "given", 0.9, 0.0) for number in range(3)]
    sentence = conclude(tables(rows)).sentence
    assert sentence.startswith("No: none of 3 untrained models control their distribution in given, at a mean distance")
    assert "before training" not in sentence


def test_several_adapters_of_one_model() -> None:
    rows = [BASELINE, row("small", "one", "given", 0.1, 1.0), row("small", "two", "given", 0.9, 0.0)]
    assert conclude(tables(rows, "one", "two")).sentence.startswith(
        "Some can, once trained for it: 1 of 2 adapters of small"
    )


def test_adapters_that_are_not_to_follow_are_no_failures() -> None:
    control = row("small", "shuffled", "given", 0.9, 0.0)
    rows = [BASELINE, control, row("small", "tuned", "given", 0.1, 1.0)]
    found = conclude(tables(rows, "tuned", controls=("shuffled",)))
    assert found == conclude(tables([BASELINE, rows[-1]], "tuned"))
    # Where there are controls alone, nothing was trained for what is asked.
    alone = conclude(tables([BASELINE, control], controls=("shuffled",)))
    assert alone.sentence.startswith("No, not without training: in given, small, untrained,")


def test_cases_with_a_limit_ask_for_no_shares() -> None:
    limits = row("reference", "uniform", "limits", 0.0, 0.0, num_binding=0)
    rows = [limits, BASELINE, row("small", "baseline", "limits", 0.0, 1.0, num_binding=0)]
    found = tables(rows, cases=("limits", "given"))
    assert found.cases == ["given"]
    assert "in given" in conclude(found).sentence
    nothing = conclude(tables(rows, cases=("limits",)))
    assert (nothing.verdict, nothing.facts) == ("undecided", [])
