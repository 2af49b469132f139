"""Tables and combined files, made from records of fake answers through the real stages."""

import json
import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fake_answers import MODELS, evaluate_with_fakes, gather, plan_in
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records
from outctl.pipeline.plan import Plan
from outctl.report.figure_tables import read_figure_table
from outctl.report.registry import FILES
from outctl.results.comparisons import between_seeds, compare
from outctl.results.console import number, summary_table
from outctl.results.csv_tables import to_csv
from outctl.stages.aggregate_model import run as aggregate_model
from outctl.stages.figures import run as draw_figures


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An experiment with its tables, which tests only read."""
    plan = plan_in(tmp_path_factory.mktemp("gathered"))
    evaluate_with_fakes(plan)
    gather(plan)
    return plan


@pytest.fixture
def plan(tmp_path: Path, gathered: Plan) -> Plan:
    """The same without tables, to be changed."""
    for part in ("samples", "evaluations", "adapters"):
        shutil.copytree(gathered.layout.results / part, tmp_path / part)
    return plan_in(tmp_path)


def test_the_case_table_has_a_row_a_model_variant_and_case_and_the_references_once(gathered: Plan) -> None:
    table = pd.read_csv(gathered.layout.case_table())
    rows = list(zip(table["model"], table["variant"], table["case_type"], strict=True))
    expected = [("reference", name, case) for case in ("given", "own") for name in ("uniform", "majority", "ordinal")]
    for model in MODELS:
        expected += [(model, variant, case) for case in ("given", "own") for variant in ("baseline", "tuned")]
    assert rows == expected
    tuned = table[table["variant"] == "tuned"]
    assert tuned["fine_tuned"].all()
    assert not table[table["variant"] != "tuned"]["fine_tuned"].any()
    assert tuned["avg_tvd"].tolist() == pytest.approx([0.0] * 4)
    assert tuned["accuracy"].tolist() == pytest.approx([1.0] * 4)
    assert tuned["control_slope"].tolist() == pytest.approx([1.0] * 4)
    uniform = table[table["variant"] == "uniform"].set_index("case_type")
    baseline = table[(table["variant"] == "baseline") & (table["model"] == "small")].set_index("case_type")
    columns = ["avg_tvd", "avg_tvd_low", "avg_tvd_high", "std_tvd", "accuracy", "accuracy_low", "avg_mass"]
    pd.testing.assert_frame_equal(baseline[columns], uniform[columns])


def test_the_case_table_has_the_columns_that_others_rely_on(gathered: Plan) -> None:
    header = gathered.layout.case_table().read_text().splitlines()[0].split(",")
    needed = (
        "model variant case_type fine_tuned num_trials num_correct num_incorrect accuracy accuracy_low accuracy_high avg_tvd "
        "avg_tvd_low avg_tvd_high std_tvd avg_conditional_tvd avg_mass control_slope within_slope within_slope_low "
        "within_slope_high accuracy_sad avg_tvd_sad"
    )
    assert set(needed.split()) <= set(header)


def test_the_results_table_has_a_row_a_model_and_variant(gathered: Plan) -> None:
    layout = gathered.layout
    table, cases = pd.read_csv(layout.results_table()), pd.read_csv(layout.case_table())
    assert list(zip(table["model"], table["variant"], strict=True)) == [
        ("reference", "uniform"),
        ("reference", "majority"),
        ("reference", "ordinal"),
        *((model, variant) for model in MODELS for variant in ("baseline", "tuned")),
    ]
    assert table["num_trials"].tolist() == [10] * 7
    own = cases[(cases["model"] == "large") & (cases["variant"] == "baseline")]
    row = table[(table["model"] == "large") & (table["variant"] == "baseline")].iloc[0]
    assert row["avg_tvd"] == pytest.approx(own["avg_tvd"].mean())
    for column in ("avg_tvd", "avg_tvd_low", "control_slope_high"):
        expected = own.set_index("case_type").loc["given", column]
        assert row[f"given_{column}"] == pytest.approx(expected, nan_ok=True)
    assert row["avg_tvd_low"] < row["avg_tvd"] < row["avg_tvd_high"]
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    # Of each case a mean with its ends behind it, as in all tables.
    names = [
        f"{case}_{column}"
        for case in ("given", "own")
        for column in ("accuracy", "avg_tvd", "control_slope", "within_slope")
    ]
    totals = "model variant fine_tuned num_cases num_trials num_correct accuracy accuracy_low accuracy_high avg_tvd avg_tvd_low "
    totals += "avg_tvd_high avg_mass avg_mass_low avg_mass_high"
    assert list(table.columns) == [
        *totals.split(),
        *(f"{name}{end}" for name in names for end in ("", "_low", "_high")),
    ]


def test_combined_results_hold_summaries_comparisons_and_provenance(gathered: Plan) -> None:
    combined = json.loads(gathered.layout.combined().read_text())
    assert len(combined["summaries"]) == 14
    comparison = next(row for row in combined["comparisons"] if row["model"] == "small" and row["case_type"] == "given")
    baseline = next(
        row
        for row in combined["summaries"]
        if (row["model"], row["variant"], row["case_type"]) == ("small", "baseline", "given")
    )
    assert comparison["variant"] == "tuned"
    assert comparison["tvd_difference"] == pytest.approx(-baseline["avg_tvd"])
    assert comparison["tvd_difference_low"] <= comparison["tvd_difference"] <= comparison["tvd_difference_high"] <= 0
    assert (comparison["against_variant"], comparison["against_case"]) == ("baseline", "given")
    assert combined["recipes"]["tuned"]["targets"] == "asked"
    assert combined["recipes"]["tuned"]["retention_weight"] == 0.0
    assert [row["num_trials"] for row in combined["overall"]] == [10] * 7
    evaluation = combined["provenance"]["models"]["large"]["evaluations"]["tuned"]["own"]
    assert evaluation["spec_hash"] == gathered.spec("evaluate", "large", "tuned", "own").hash


def test_the_records_of_a_model_are_in_its_file(gathered: Plan) -> None:
    results = json.loads(gathered.layout.model_results("small").read_text())
    assert len(results["records"]["tuned"]["given"]) == 6
    assert {"sample_id", "probabilities", "tvd", "top_tokens"} <= set(results["records"]["baseline"]["own"][0])


def test_the_same_records_give_the_same_bytes(plan: Plan) -> None:
    layout = gather(plan)
    files = [layout.case_table(), layout.results_table(), layout.combined()]
    first = [file.read_bytes() for file in files]
    gather(plan)
    assert [file.read_bytes() for file in files] == first


def test_records_from_other_settings_are_refused(tmp_path: Path, plan: Plan) -> None:
    changed = plan_in(tmp_path, evaluation={"tokens_per_pass": 999})
    with pytest.raises(OutctlError, match="made from other settings or code than the current ones"):
        aggregate_model(changed.spec("aggregate-model", "small"), plan.layout.results)
    assert not plan.layout.model_results("small").exists()


def test_records_cut_short_are_refused(plan: Plan) -> None:
    file = plan.layout.records("small", "tuned", "given")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(OutctlError, match=r"given\.jsonl: missing or not as it was written"):
        aggregate_model(plan.spec("aggregate-model", "small"), plan.layout.results)


def test_figures_are_drawn_and_equal_results_give_equal_ones(plan: Plan) -> None:
    layout = gather(plan)
    draw_figures(plan.spec("figures"), layout.results)
    first = {name: layout.figure(name).read_text() for name in ("calibration", "tvd")}
    assert first["calibration"].count("<svg") == 1
    for name in (*MODELS, "tuned", "baseline", "given", "own"):
        assert name in first["calibration"]
        assert name in first["tvd"]
    draw_figures(plan.spec("figures"), layout.results)
    assert {name: layout.figure(name).read_text() for name in first} == first


def test_an_even_share_is_that_of_so_many_words(tmp_path: Path) -> None:
    cases = {
        "given": {"kind": "given_words", "train_samples": 8, "eval_samples": 4},
        "three": {"kind": "given_words", "num_words": 3, "eval_samples": 4},
        "pairs": {"kind": "successive_words", "eval_samples": 4},
    }
    plan = plan_in(tmp_path, cases=cases)
    evaluate_with_fakes(plan, lambda variant, sample: sample.target)
    layout = gather(plan)
    draw_figures(plan.spec("figures"), layout.results)
    rows = read_figure_table(layout.figure_numbers("calibration"), FILES["calibration"])
    assert {(row["case_type"], round(row["even_share"], 6)) for row in rows} == {
        ("given", 0.5),
        ("three", 0.333333),
        ("pairs", 0.25),
    }


def test_csv_has_no_negative_zero_and_leaves_what_is_undefined_empty() -> None:
    table = pd.DataFrame({"name": ["a", "b"], "value": [-1e-15, float("nan")], "count": [1, 2]})
    assert to_csv(table) == "name,value,count\na,0.0,1\nb,,2\n"


def test_p_values_keep_their_significant_digits() -> None:
    table = pd.DataFrame({"tvd_p": [1.23456789e-17, 0.25], "tvd_p_holm": [2e-300, float("nan")], "top": [1e-12, 0.5]})
    assert to_csv(table) == "tvd_p,tvd_p_holm,top\n1.23457e-17,2e-300,0.0\n0.25,,0.5\n"


def test_numbers_of_the_terminal_table() -> None:
    assert [number(0.12345), number(-0.0001, 2), number(float("nan"))] == ["0.123", "0.00", "-"]


def test_the_terminal_table_puts_references_below_what_was_measured(gathered: Plan) -> None:
    table = summary_table(pd.read_csv(gathered.layout.case_table()))
    variants = list(table.columns[2].cells)
    assert variants == ["baseline", "tuned", "baseline", "tuned", "uniform", "majority", "ordinal"] * 2


def test_comparisons_pair_by_sample_and_correct_over_all_models(gathered: Plan) -> None:
    layout = gathered.layout
    table = pd.read_csv(layout.comparison_table())
    assert list(zip(table["model"], table["variant"], table["case_type"], strict=True)) == [
        (model, "tuned", case) for model in MODELS for case in ("given", "own")
    ]
    small = json.loads(layout.model_results("small").read_text())["records"]
    for row in table[table["model"] == "small"].to_dict("records"):
        before, after = (small[variant][row["case_type"]] for variant in ("baseline", "tuned"))
        assert row["num_gained"] == sum(not record["within_tolerance"] for record in before)
        assert row["num_lost"] == 0
        assert row["tvd_difference"] == pytest.approx(-sum(record["tvd"] for record in before) / len(after))
        assert row["slope_difference"] == pytest.approx(1.0)
    # Of four p-values, the smallest is multiplied by four, whatever model it is of.
    assert table["tvd_p_holm"].min() == pytest.approx(min(1.0, 4 * table["tvd_p"].min()))


def test_comparisons_of_other_samples_are_refused(plan: Plan) -> None:
    records = read_records(plan.layout.records("small", "baseline", "given"))
    with pytest.raises(ValueError, match="did not answer the same samples"):
        compare(records, records[:-1], plan.experiment.statistics, 0)


def test_adapters_and_cases_are_compared_as_the_configuration_says(tmp_path: Path) -> None:
    recipe = {"cases": {"given": 8}, "steps": 1, "held_out_samples": 2}
    given = {"kind": "given_words", "train_samples": 8, "eval_samples": 6}
    plan = plan_in(
        tmp_path,
        # Of unlike numbers of samples, those are compared that both cases have.
        cases={"given": given, "reworded": {**given, "template": "given_words_odds", "eval_samples": 4}},
        adapters={"tuned": recipe, "control": {**recipe, "targets": "even"}},
        comparisons={"adapters": {"tuned": ["control"]}, "cases": {"reworded": "given"}},
    )
    evaluate_with_fakes(plan)
    table = pd.read_csv(gather(plan).comparison_table())
    own = table[table["model"] == "small"]
    pairs = own[["variant", "case_type", "against_variant", "against_case"]].to_numpy().tolist()
    assert pairs == [
        *([name, case, "baseline", case] for case in ("given", "reworded") for name in ("tuned", "control")),
        *(["tuned", case, "control", case] for case in ("given", "reworded")),
        *([name, "reworded", name, "given"] for name in ("baseline", "tuned", "control")),
    ]
    assert own["num_pairs"].tolist() == [6, 6, 4, 4, 6, 4, 4, 4, 4]
    assert own["family"].tolist() == ["baseline"] * 4 + ["adapters"] * 2 + ["cases"] * 3
    # Each family by itself: no corrected p-value is smaller than its own, and the smallest counts those of all models.
    assert (table["tvd_p_holm"] >= table["tvd_p"]).all()
    for name, count in (("baseline", 8), ("adapters", 4), ("cases", 6)):
        rows = table[table["family"] == name]
        assert len(rows) == count
        assert rows["tvd_p_holm"].min() == pytest.approx(min(1.0, count * rows["tvd_p"].min()))


def test_other_words_or_shares_are_no_pairs(plan: Plan) -> None:
    records = read_records(plan.layout.records("small", "baseline", "given"))
    other = [record.model_copy(update={"case": "own", "sample_id": f"own{record.sample_id[5:]}"}) for record in records]
    assert compare(records, other, plan.experiment.statistics, 0).tvd_difference == 0.0
    turned = [record.model_copy(update={"target": record.target[::-1]}) for record in other]
    with pytest.raises(ValueError, match="did not answer the same samples"):
        compare(records, turned, plan.experiment.statistics, 0)


def test_the_matrix_has_every_metric_of_every_case_and_what_was_trained_on(gathered: Plan) -> None:
    layout = gathered.layout
    matrix, cases = pd.read_csv(layout.matrix_table()), pd.read_csv(layout.case_table())
    # Two models with two variants each; three metrics with the ends of their intervals.
    assert len(matrix) == 2 * 2 * 3 * 3
    assert matrix[matrix["variant"] == "tuned"]["trained_on"].unique().tolist() == ["given"]
    assert matrix[matrix["variant"] == "baseline"]["trained_on"].isna().all()
    for row in matrix.to_dict("records"):
        for case in ("given", "own"):
            own = cases[(cases["model"] == row["model"]) & (cases["variant"] == row["variant"])]
            expected = own.set_index("case_type").loc[case, row["metric"]]
            assert row[case] == pytest.approx(expected, nan_ok=True)


def test_learning_curves_hold_what_was_measured_and_leave_the_rest_empty(gathered: Plan) -> None:
    table = pd.read_csv(gathered.layout.learning_table())
    assert table["model"].tolist() == list(MODELS)
    assert table["samples"].tolist() == [32, 32]
    assert table["held_out_tvd"].tolist() == [0.25, 0.25]
    assert table["held_out_slope"].isna().all()


@pytest.mark.slow
def test_repeats_over_seeds_tell_seeds_from_samples(tmp_path: Path) -> None:
    sweep = {"seeds": {"base": "tuned", "vary": {"seed": [1, 2]}}}
    plan = plan_in(tmp_path, sweeps=sweep)
    evaluate_with_fakes(plan)
    layout = gather(plan)
    table = pd.read_csv(layout.seed_table())
    assert table["num_seeds"].tolist() == [3] * 4
    assert table["variant"].unique().tolist() == ["tuned"]
    # Fakes of every seed answer alike, so all that is spread is between samples.
    assert table["std_between_seeds"].tolist() == pytest.approx([0.0] * 4)
    assert table["std_left"].tolist() == pytest.approx([0.0] * 4)
    combined = json.loads(layout.combined().read_text())
    assert combined["sweeps"] == {"seeds": {"seeds-1": {"seed": "1"}, "seeds-2": {"seed": "2"}}}
    draw_figures(plan.spec("figures"), layout.results)
    drawn = layout.figure("sweeps").read_text()
    assert "seed 2" in drawn
    assert "seed 0 (base)" in drawn


def test_chance_in_single_answers_adds_nothing_to_the_spread_between_seeds_or_samples(plan: Plan) -> None:
    record = read_records(plan.layout.records("small", "baseline", "given"))[0]
    draw = np.random.default_rng(0)
    of_seed, of_sample = draw.normal(0.0, 0.02, 60), draw.normal(0.0, 0.1, 60)
    left = draw.normal(0.0, 0.3, (60, 60))
    values = 0.5 + of_seed[:, None] + of_sample[None, :] + left
    row = between_seeds(
        [[record.model_copy(update={"tvd": float(value)}) for value in repeat] for repeat in values], 0.95
    )
    # Means over 60 answers still differ by 0.3 / sqrt(60) = 0.039 by chance, twice what seeds do.
    assert row.std_between_seeds == pytest.approx(0.02, abs=0.01)
    assert row.std_between_samples == pytest.approx(0.1, abs=0.02)
    assert row.std_left == pytest.approx(0.3, rel=0.05)
    alone = between_seeds([[record], [record]], 0.95)
    assert math.isnan(alone.std_between_seeds)
    assert math.isnan(alone.std_between_samples)


def test_the_spread_between_seeds_is_not_that_between_samples(plan: Plan) -> None:
    records = read_records(plan.layout.records("small", "baseline", "given"))

    def shifted(by: float) -> list[Record]:
        return [record.model_copy(update={"tvd": record.tvd + by}) for record in records]

    row = between_seeds([shifted(0.0), shifted(0.1), shifted(0.2)], 0.95)
    assert row.std_between_seeds == pytest.approx(0.1)
    assert row.std_between_samples == pytest.approx(statistics.stdev(record.tvd for record in records))
    assert row.std_left == pytest.approx(0.0, abs=1e-9)
    # Student's t at 2 degrees of freedom: 4.303 standard errors.
    assert row.avg_tvd_high - row.avg_tvd == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    masses = [1.0 - record.other_mass for record in records]
    assert (row.avg_mass_low, row.avg_mass, row.avg_mass_high) == pytest.approx([statistics.mean(masses)] * 3)
    assert row.accuracy == pytest.approx(statistics.mean(record.within_tolerance for record in records))
    # The shares are the same, and so are the slopes.
    assert row.control_slope_low == pytest.approx(row.control_slope_high, nan_ok=True)
