"""Agreement of drawn answers with exact probabilities: on tiny models, and its numbers by hand and by simulation."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from outctl.config.evaluations import Evaluation
from outctl.config.statistics import Statistics
from outctl.errors import OutctlError
from outctl.evaluation import sampling
from outctl.evaluation.agreement import AgreementRecord, read_agreement, summarise_agreement, write_agreement
from outctl.evaluation.questions import CaseQuestions
from outctl.evaluation.records import Record
from outctl.evaluation.sampling import compare, measure_agreement, pooled_chi_square, sampling_floor
from outctl.evaluation.scoring import score
from outctl.inference.engine_check import prepare
from outctl.models.loading import LoadedModel, load_model
from outctl.tasks.samples import Sample

TinyModel = Callable[..., LoadedModel]
REST = [(f"<{number}>", 0.0) for number in range(10)]


def sample(number: int, content: str, words: list[str] | None, target: list[float]) -> Sample:
    return Sample(
        sample_id=f"case-eval-{number:05d}",
        case="case",
        messages=[{"role": "user", "content": content}],
        words=words,
        target=target,
        tolerance=0.1,
        seed=number,
        max_zipf=None if words else 3.5,
    )


def samples(given: bool) -> list[Sample]:
    words = [["ark", "atom"], ["a", "at"], ["k", "an"]]
    return [sample(number, f"Say {number}", words[number % 3] if given else None, [0.7, 0.3]) for number in range(12)]


def measured(loaded: LoadedModel, given: bool, draws: int = 4000, **options: Any) -> list[AgreementRecord]:
    return measure_agreement(loaded, samples(given), "tiny", "baseline", Evaluation(), draws, seed=3, **options)


def record(probabilities: list[float], target: list[float]) -> Record:
    asked = sample(0, "Say", [f"word{number}" for number in range(len(target))], target)
    log_p = [math.log(value) if value else -math.inf for value in probabilities]
    return score(asked, "fake", "baseline", asked.words or [], log_p, REST)


@pytest.mark.parametrize("given", [True, False])
def test_answers_of_a_tiny_model_agree_with_its_probabilities(given: bool, tiny_model: TinyModel) -> None:
    loaded = tiny_model(initializer_range=0.1)
    calls: list[tuple[int, int]] = []
    found = measured(loaded, given, progress=lambda *call: calls.append(call))
    exact = CaseQuestions(loaded, samples(given)).measure(range(12), "tiny", "baseline", Evaluation())
    for one, other in zip(found, exact, strict=True):
        for key in ("sample_id", "case", "model", "variant", "words", "target", "probabilities", "other_mass", "tvd"):
            assert getattr(one, key) == getattr(other, key)
    assert calls == [(number, 12) for number in range(1, 13)]
    row = summarise_agreement(found, Statistics(), seed=0)
    assert row.degrees_of_freedom >= 22
    assert row.p_value > 0.01
    assert row.disagreeing_low <= 0.05
    assert row.avg_tvd_exact_sampled == pytest.approx(row.avg_sampling_floor, rel=0.4)


def test_a_wrong_rule_for_the_end_of_a_word_is_found_out(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "word_continuations", lambda tokenizer, size: torch.zeros(size, dtype=torch.bool))
    row = summarise_agreement(measured(tiny_model(initializer_range=0.1), given=True), Statistics(), seed=0)
    assert row.p_value < 1e-12
    assert row.disagreeing_low > 0.5
    assert row.avg_tvd_exact_sampled > 3 * row.avg_sampling_floor


def test_agreement_by_hand() -> None:
    found = compare(record([0.5, 0.3], [0.6, 0.4]), [60, 20], draws=100)
    assert found.counts == [60, 20]
    assert found.other_count == 20
    assert found.chi_square == pytest.approx(100 / 50 + 100 / 30)
    assert found.degrees_of_freedom == 2
    assert found.p_value == pytest.approx(math.exp(-(100 / 50 + 100 / 30) / 2))
    assert found.tvd_exact_sampled == pytest.approx(0.1)
    assert found.tvd == pytest.approx(0.2)
    assert found.tvd_sampled == pytest.approx(0.2)
    assert compare(record([0.5, 0.3], [0.6, 0.4]), [70, 20], draws=100).tvd_sampled == pytest.approx(0.2)
    assert compare(record([0.5, 0.3], [0.6, 0.4]), [0, 0], draws=100).tvd_sampled == pytest.approx(1.0)


def test_rounding_in_16_bits_is_not_taken_for_disagreement(tiny_model_dir: Callable[..., Path]) -> None:
    loaded = load_model(tiny_model_dir(initializer_range=0.1), "bfloat16", chat=True)
    prepare(loaded)
    found = measured(loaded, given=True, draws=1000)
    assert any(one.chi_square is not None for one in found)
    assert {one.p_value for one in found} == {None}
    row = summarise_agreement(found, Statistics(), seed=0)
    assert math.isnan(row.p_value)
    assert math.isnan(row.disagreeing)
    assert row.avg_tvd_exact_sampled > 0.0


def test_nothing_is_compared_where_a_single_outcome_is_expected() -> None:
    found = compare(record([0.001, 0.002], [0.6, 0.4]), [0, 1], draws=100)
    assert (found.chi_square, found.p_value, found.degrees_of_freedom) == (None, None, 0)


def test_probabilities_that_sum_to_1_but_for_rounding_are_compared() -> None:
    found = compare(record([0.7001, 0.3001], [0.6, 0.4]), [70, 30], draws=100)
    assert found.chi_square == pytest.approx(0.0, abs=1e-4)
    assert found.tvd_exact_sampled == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("expected", "groups"),
    [
        ([50.0, 30.0, 20.0], [[2], [1], [0]]),
        ([50.0, 46.0, 4.0], [[2, 1], [0]]),
        ([50.0, 44.0, 3.0, 3.0], [[2, 3], [1], [0]]),
        ([4.0, 50.0, 4.5, 41.5], [[0, 2], [3], [1]]),
        ([60.0, 36.0, 2.0, 1.0, 1.0], [[4, 3, 2, 1], [0]]),
        ([3.0, 3.0, 90.0, 4.0], [[0, 1, 3], [2]]),
        ([95.0, 5.0], [[1], [0]]),
        ([0.0, 40.0, 60.0], [[0, 1], [2]]),
    ],
)
def test_rare_outcomes_count_as_one(expected: list[float], groups: list[list[int]]) -> None:
    observed = np.random.default_rng(0).multinomial(100, np.array(expected) / sum(expected)).astype(np.float64)
    pooled = [(sum(observed[i] for i in group), sum(expected[i] for i in group)) for group in groups]
    assert all(wanted >= 5 for _, wanted in pooled)
    statistic, degrees = pooled_chi_square(observed, np.array(expected))
    assert statistic == pytest.approx(sum((count - wanted) ** 2 / wanted for count, wanted in pooled))
    assert degrees == len(groups) - 1


@pytest.mark.parametrize("expected", [[97.0, 2.0, 1.0], [100.0, 0.0], [4.0, 4.0], [1.0]])
def test_a_single_outcome_has_no_statistic(expected: list[float]) -> None:
    assert pooled_chi_square(np.array(expected), np.array(expected)) == (None, 0)


@pytest.mark.parametrize("draws", [1, 7, 100, 2000])
@pytest.mark.parametrize("exact", [[0.7, 0.3], [0.5, 0.25, 0.25], [0.9, 0.08, 0.015, 0.005], [1.0, 0.0]], ids=str)
def test_the_sampling_floor_is_what_draws_from_the_distribution_are_away(exact: list[float], draws: int) -> None:
    frequencies = np.random.default_rng(1).multinomial(draws, exact, size=40_000) / draws
    distances = 0.5 * np.abs(frequencies - exact).sum(1)
    error = distances.std() / math.sqrt(len(distances))
    assert sampling_floor(np.array(exact), draws) == pytest.approx(distances.mean(), abs=4 * error + 1e-12)


def test_p_values_of_draws_from_the_distribution_are_even() -> None:
    random = np.random.default_rng(2)
    exact = record([0.6, 0.25, 0.1], [0.5, 0.3, 0.2])
    counts = random.multinomial(2000, [0.6, 0.25, 0.1, 0.05], size=500)
    values = [compare(exact, row[:3].tolist(), 2000).p_value for row in counts]
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_a_summary_by_hand() -> None:
    exact = record([0.5, 0.3], [0.6, 0.4])
    silent = record([0.001, 0.002], [0.6, 0.4])
    found = [compare(exact, [60, 20], 100), compare(exact, [40, 30], 100), compare(silent, [0, 0], 100)]
    row = summarise_agreement(found, Statistics(), seed=0)
    assert (row.model, row.variant, row.case_type, row.num_samples) == ("fake", "baseline", "case", 3)
    assert row.avg_tvd_exact_sampled == pytest.approx((0.1 + 0.1 + 0.003) / 3)
    assert row.avg_tvd_exact_sampled_low < row.avg_tvd_exact_sampled < row.avg_tvd_exact_sampled_high
    assert row.chi_square == pytest.approx(2 + 10 / 3 + 2 + 5)
    assert row.degrees_of_freedom == 4
    assert row.p_value == pytest.approx(stats.chi2.sf(2 + 10 / 3 + 2 + 5, 4))
    # exp(-3.5) and exp(-8/3): the first is below 0.05; the third sample has nothing to compare.
    assert row.disagreeing == 0.5
    assert row.disagreeing_low < 0.1
    # Half of |0.6 - 0.6| + |0.2 - 0.4| + |0.2 - 0|, of |0.4 - 0.6| + |0.3 - 0.4| + |0.3 - 0|, and all where nothing is said.
    assert row.avg_tvd_sampled == pytest.approx((0.2 + 0.3 + 1.0) / 3)
    assert row.avg_tvd == pytest.approx((0.2 + 0.2 + 0.997) / 3)
    floors = [sampling_floor(np.array(one), 100) for one in ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.001, 0.002, 0.997])]
    assert row.avg_sampling_floor == pytest.approx(sum(floors) / 3)
    nothing = summarise_agreement([found[2]], Statistics(), seed=0)
    assert nothing.degrees_of_freedom == 0
    assert all(math.isnan(value) for value in (nothing.chi_square, nothing.p_value, nothing.disagreeing))


def test_records_are_read_back_and_broken_ones_refused(tmp_path: Path) -> None:
    file = tmp_path / "agreement.jsonl"
    good = compare(record([0.5, 0.3], [0.6, 0.4]), [60, 20], draws=100)
    other = good.model_copy(update={"sample_id": "case-eval-00001", "chi_square": None, "p_value": None})
    write_agreement(file, [good, other])
    assert read_agreement(file) == [good, other]
    changes: list[tuple[dict[str, Any], str]] = [
        ({"counts": [60, 21]}, "line 2: counts: with other_count they sum to 101, not to 100 draws; draw the answers"),
        ({"counts": [80]}, "line 2: counts: 1 of them for 2 shares"),
        ({"words": ["ark"]}, "line 2: words: 1 of them for 2 shares"),
        ({"probabilities": [0.5, 0.5]}, "line 2: probabilities: with other_mass they sum to 1.2"),
        ({"variant": "tuned"}, "line 2: variant: 'tuned' differs"),
        ({"sample_id": good.sample_id}, "line 2: sample_id: 'case-eval-00000' stands in line 1 too"),
    ]
    for change, message in changes:
        write_agreement(file, [good, other.model_copy(update=change)])
        with pytest.raises(OutctlError, match=message):
            read_agreement(file)
