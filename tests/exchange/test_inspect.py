"""Inspect reads what is exported for it, and runs the task that asks the same questions of models behind an interface."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from command_line import ByHand
from in_process import evaluate, gather, train
from outctl.evaluation.records import read_records
from outctl.evaluation.sampling import sampling_floor
from outctl.exchange.answers import frequency_scores
from outctl.tasks.samples import Message, Sample, write_samples

pytest.importorskip("inspect_ai")

from inspect_ai import eval as run_task
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    get_model,
)

from outctl.exchange.inspect_task import output_control

pytestmark = pytest.mark.slow

DRAWS = 20


@pytest.fixture
def results(by_hand: Callable[..., ByHand]) -> ByHand:
    """A directory in which a tiny model's two cases are evaluated, one of them with words of its own."""
    own = {"kind": "random_words", "eval_samples": 2}
    given = {"kind": "given_words", "train_samples": 32, "eval_samples": 12}
    work = by_hand(cases={"given": given, "own": own})
    for case in ("given", "own"):
        evaluate(work, "baseline", case)
    return work


def exported(work: ByHand) -> dict[str, bytes]:
    code, out, err = work.run("export-inspect")
    assert code == 0, err
    assert "2 logs written below results/inspect; 2 evaluations are not made yet" in out
    folder = work.folder / "results" / "inspect"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.eval")}


def test_logs_hold_what_the_records_and_tables_hold(results: ByHand) -> None:
    assert exported(results).keys() == {"tiny/baseline/given.eval", "tiny/baseline/own.eval"}
    logs = {info.task: read_eval_log(info) for info in list_eval_logs(str(results.folder / "results" / "inspect"))}
    log, layout = logs["given"], results.plan.layout
    records = read_records(layout.records("tiny", "baseline", "given"))
    assert (log.status, log.eval.model, log.eval.tags) == ("success", "tiny", ["baseline"])
    assert log.eval.model_args["adapter"] is None
    provenance = json.loads(results.plan.provenance("evaluate", "tiny", "baseline", "given").read_text())
    assert (log.eval.metadata or {})["provenance"] == provenance
    assert log.samples
    assert [sample.id for sample in log.samples] == [record.sample_id for record in records]
    for sample, record in zip(log.samples, records, strict=True):
        assert sample.scores
        assert sample.scores["tvd"].value == record.tvd
        assert sample.scores["within_tolerance"].value == "CI"[not record.within_tolerance]
        assert sample.scores["conditional_tvd"].value == pytest.approx(record.conditional_tvd)
        assert sample.scores["mass"].value == pytest.approx(sum(record.probabilities))
        assert (sample.target, sample.metadata["probabilities"]) == (record.words, record.probabilities)
        (first,) = sample.output.choices[0].logprobs.content  # type: ignore[union-attr]
        assert [token.token for token in first.top_logprobs or []] == [token.text for token in record.top_tokens]
        assert math.exp(first.logprob) == pytest.approx(record.top_tokens[0].probability)
    metrics = {score.name: score.metrics for score in (log.results.scores if log.results else [])}
    assert metrics["tvd"]["mean"].value == pytest.approx(sum(record.tvd for record in records) / len(records))
    assert metrics["tvd"]["low"].value < metrics["tvd"]["mean"].value < metrics["tvd"]["high"].value
    # The words of the tiny model have next to no mass, so there is no slope.
    assert metrics["first_share"] == {}


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_wherever_and_whenever_they_are_exported(results: ByHand) -> None:
    first = exported(results)
    shutil.rmtree(results.folder / "results" / "inspect")
    assert exported(results) == first


@pytest.mark.slow
def test_metrics_are_those_of_the_tables(results: ByHand) -> None:
    train(results)
    for case in ("given", "own"):
        evaluate(results, "tuned", case)
    gather(results)
    code, _, err = results.run("export-inspect")
    assert code == 0, err
    table = pd.read_csv(results.plan.layout.case_table())
    for _, row in table[table.model == "tiny"].iterrows():
        file = results.folder / "results" / "inspect" / "tiny" / row.variant / f"{row.case_type}.eval"
        log = read_eval_log(str(file))
        metrics = {score.name: score.metrics for score in (log.results.scores if log.results else [])}
        for score, metric, column in [
            ("tvd", "mean", "avg_tvd"),
            ("tvd", "high", "avg_tvd_high"),
            ("within_tolerance", "accuracy", "accuracy"),
            ("mass", "mean", "avg_mass"),
            ("first_share", "control_slope", "control_slope"),
        ]:
            found = metrics[score][metric].value if metric in metrics[score] else math.nan
            assert found == pytest.approx(row[column], abs=1e-9, nan_ok=True), (row.variant, row.case_type, column)
        adapter = log.eval.model_args["adapter"]
        assert adapter == (None if row.variant == "baseline" else "results/adapters/tiny/tuned")


def test_records_that_are_not_as_they_were_written_are_not_exported(results: ByHand) -> None:
    file = results.plan.layout.records("tiny", "baseline", "given")
    file.write_text(file.read_text().replace('"tiny"', '"other"'))
    code, _, err = results.run("export-inspect")
    assert code == 1
    assert err.count("\n") == 1
    assert "not as it was written" in err


def test_without_results_it_says_what_to_run(by_hand: Callable[..., ByHand]) -> None:
    code, _, err = by_hand().run("export-inspect")
    assert (code, err) == (1, "outctl: results: none of 2 evaluations is there; run the workflow first\n")


def answers(texts: Sequence[str], top: Sequence[tuple[str, float]] = ()) -> Iterator[ModelOutput]:
    """What a model writes, one answer after the other; with the likeliest first tokens of each."""
    tokens = [TopLogprob(token=token, logprob=math.log(probability)) for token, probability in top]
    logprobs = Logprobs(content=[Logprob(token="x", logprob=0.0, top_logprobs=tokens)]) if top else None
    for text in texts:
        choice = ChatCompletionChoice(message=ChatMessageAssistant(content=text), stop_reason="stop", logprobs=logprobs)
        # Without a usage, tokens are counted with a vocabulary that is fetched from the network.
        yield ModelOutput(model="mockllm/model", choices=[choice], usage=ModelUsage())


def asked(tmp_path: Path, rows: list[Sample], outputs: Iterator[ModelOutput], **options: Any) -> EvalLog:
    write_samples(tmp_path / "eval.jsonl", rows)
    (log,) = run_task(
        output_control(str(tmp_path / "eval.jsonl"), **options),
        model=get_model("mockllm/model", custom_outputs=outputs),
        log_dir=str(tmp_path / "logs"),
        display="none",
        max_samples=1,
    )
    assert log.status == "success", log.error
    return log


def question(number: int, target: list[float], words: list[str] | None) -> Sample:
    return Sample(
        sample_id=f"q{number}", case="given", messages=[Message(role="user", content=f"{number}?")], words=words,
        target=target, tolerance=0.1, seed=0,
    )  # fmt: skip


def test_the_task_scores_the_frequencies_of_the_answers_to_each_question(tmp_path: Path) -> None:
    rows = [question(0, [0.2, 0.8], ["ark", "atom"]), question(1, [0.5, 0.5], ["e", "l"])]
    said = {"0?": ["ark"] * 5 + ["Atom."] * 11 + ["arkansas"] * 4, "1?": ["e"] * 20}
    texts = {prompt: iter(own) for prompt, own in said.items()}

    def answer(messages: Sequence[Any], *_: Any) -> ModelOutput:
        return next(answers([next(texts[messages[-1].text])], [(" ar", 0.1), ("At", 0.6), ("e", 0.3)]))

    log = asked(tmp_path, rows, answer, draws=DRAWS, top_logprobs=3)  # type: ignore[arg-type]
    pooled, first = log.reductions or []
    expected = [frequency_scores([5, 11], 20, [0.2, 0.8], False), frequency_scores([20, 0], 20, [0.5, 0.5], False)]
    values = {str(score.sample_id): score.value for score in pooled.samples}
    assert values == {"q0": pytest.approx(expected[0]), "q1": pytest.approx(expected[1])}
    assert expected[0]["tvd"] == pytest.approx(0.5 * (0.05 + 0.25 + 0.2))
    assert expected[0]["sampling_floor"] == pytest.approx(sampling_floor(pd.Series([0.2, 0.8]).to_numpy(), 20))
    scores = {score.name: score for score in (log.results.scores if log.results else [])}
    slope = next(iter(scores["first_share"].metrics.values())).value
    assert slope == pytest.approx((1.0 - 5 / 16) / (0.5 - 0.2))
    assert scores["mass"].metrics["mean"].value == pytest.approx(0.9)
    tokens = {str(score.sample_id): score.value for score in first.samples}
    assert tokens["q0"]["first_token_tvd"] == pytest.approx(0.5 * (0.1 + 0.2 + 0.3))  # type: ignore[index, call-overload]
    assert tokens["q1"]["first_token_mass"] == pytest.approx(0.3)  # type: ignore[index, call-overload]


def test_an_interface_without_logprobs_leaves_the_first_token_without_a_score(tmp_path: Path) -> None:
    rows = [question(0, [0.2, 0.8], ["ark", "atom"])]
    log = asked(tmp_path, rows, answers(["ark", "atom"]), draws=2, top_logprobs=3)
    scores = {score.name: score for score in (log.results.scores if log.results else [])}
    assert scores["first_token_tvd"].scored_samples == 0
    assert scores["tvd"].metrics["mean"].value == pytest.approx(0.3)


def test_questions_that_name_no_words_are_refused_in_one_line(tmp_path: Path) -> None:
    from inspect_ai._util.error import PrerequisiteError

    write_samples(tmp_path / "eval.jsonl", [question(0, [0.8, 0.2], None)])
    with pytest.raises(PrerequisiteError) as refused:
        output_control(str(tmp_path / "eval.jsonl"))
    assert "picks the words itself" in str(refused.value.message)
    with pytest.raises(PrerequisiteError) as missing:
        output_control(os.devnull + "/none.jsonl")
    assert "none.jsonl" in str(missing.value.message)
