"""Records as logs of Inspect, which its viewer, its commands and its data frames read.

A log is a model, variant and case. What Inspect has a place for goes there: questions, scores, metrics, the likeliest first
tokens as log-probabilities; the whole record and its provenance stand in the metadata. Nothing in a log depends on when it
was written: identifiers follow from the names, and its times are those of the records' file. So the same records give the
same bytes.
"""

import hashlib
import io
import math
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalRevision,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Logprob,
    Logprobs,
    ModelOutput,
    TopLogprob,
)
from inspect_ai.scorer import CORRECT, INCORRECT, Score

from outctl.config.statistics import Statistics
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records
from outctl.exchange.inspect_task import chat_messages
from outctl.metrics.sharing import Sharing
from outctl.metrics.statistics import conditional_share
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_outputs
from outctl.results.summary import summarise
from outctl.storage.files import write_bytes
from outctl.tasks.samples import Sample, read_samples

COLUMNS = {
    "tvd": {"mean": "avg_tvd", "std": "std_tvd", "low": "avg_tvd_low", "high": "avg_tvd_high"},
    "within_tolerance": {"accuracy": "accuracy", "low": "accuracy_low", "high": "accuracy_high"},
    "conditional_tvd": {
        "mean": "avg_conditional_tvd",
        "low": "avg_conditional_tvd_low",
        "high": "avg_conditional_tvd_high",
    },
    "mass": {"mean": "avg_mass", "low": "avg_mass_low", "high": "avg_mass_high"},
    "first_share": {"control_slope": "control_slope", "low": "control_slope_low", "high": "control_slope_high"},
}
"""For each score, the metrics of it and the columns of `output_control_simple_metrics.csv` that they are."""


def export_log(
    layout: Layout, model: str, variant: str, case: str, statistics: Statistics, seed: int, path: Path
) -> None:
    """Write the log of one evaluation.

    Args:
        layout: where samples and records lie.
        model: name of the model.
        variant: `baseline`, or an adapter.
        case: name of the case.
        statistics: how the tables compute intervals.
        seed: the experiment's seed, for their bootstrap.
        path: the file to write, which ends in `.eval`.

    Raises:
        OutctlError: samples or records are missing, broken, not as they were written, or do not belong together.
    """
    provenance = check_outputs(beside(layout.records(model, variant, case)))
    records_file, samples_file = layout.records(model, variant, case), layout.samples(case, "eval")
    samples, records = read_samples(samples_file), read_records(records_file)
    if [record.sample_id for record in records] != [sample.sample_id for sample in samples]:
        raise OutctlError(f"{records_file}: does not answer the samples of {samples_file}; run the evaluation again")
    time = datetime.fromtimestamp(records_file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    among = Sharing([sample.subjects for sample in samples])
    log = EvalLog(
        status="success",
        eval=_spec(model, variant, case, samples, provenance, layout.variant_adapter(model, variant), time),
        plan=EvalPlan(steps=[EvalPlanStep(solver="outctl/exact_word_probabilities")]),
        results=_results(
            records, summarise(model, variant, case, records, statistics, seed, shared=among).model_dump()
        ),
        stats=EvalStats(started_at=time, completed_at=time),
        samples=[_sample(*pair, time) for pair in zip(samples, records, strict=True)],
    )
    write_bytes(path, _packed(log))


def _identifier(*names: str) -> str:
    """An identifier as long as Inspect's own, which follows from names."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:22]


def _spec(
    model: str,
    variant: str,
    case: str,
    samples: Sequence[Sample],
    provenance: Mapping[str, Any],
    adapter: Path | None,
    time: str,
) -> EvalSpec:
    environment = provenance["environment"]
    code = environment["code"]
    return EvalSpec(
        created=time,
        eval_id=_identifier(provenance["spec_hash"], model, variant, case),
        run_id=_identifier(provenance["spec_hash"]),
        task_id=_identifier(model, variant, case),
        task=case,
        task_args={"case": case, "variant": variant},
        tags=[variant],
        dataset=EvalDataset(
            name=case, samples=len(samples), sample_ids=[sample.sample_id for sample in samples], shuffled=False
        ),
        model=model,
        model_args={
            "adapter": adapter.as_posix() if adapter else None,
            **{key: provenance[key] for key in ("base_weights_hash", "precision", "compute_dtype", "device")},
        },
        config=EvalConfig(epochs=1),
        revision=EvalRevision(type="git", origin="", commit=code["commit"], dirty=code["dirty"])
        if code["commit"]
        else None,
        packages={name: version for name, version in environment["packages"].items() if version},
        metadata={"model": model, "variant": variant, "case": case, "provenance": dict(provenance)},
    )


def _sample(sample: Sample, record: Record, time: str) -> EvalSample:
    question = chat_messages(sample.messages)
    output = _output(record)
    return EvalSample(
        id=sample.sample_id,
        epoch=1,
        uuid=_identifier(record.model, record.variant, sample.sample_id),
        input=question,
        target=record.words,
        messages=[*question, *(choice.message for choice in output.choices)],
        output=output,
        scores=_scores(record),
        metadata={
            **record.model_dump(mode="json", exclude={"sample_id", "model", "variant", "case", "top_tokens"}),
            "seed": sample.seed,
        },
        started_at=time,
        completed_at=time,
    )


def _output(record: Record) -> ModelOutput:
    """The likeliest first token as the answer: nothing was sampled, and that much of the greedy answer is known."""
    top = [
        TopLogprob(token=token.text, logprob=math.log(token.probability))
        for token in record.top_tokens
        if token.probability > 0.0
    ]
    if not top:
        return ModelOutput(model=record.model)
    first = Logprob(token=top[0].token, logprob=top[0].logprob, top_logprobs=top)
    message = ChatMessageAssistant(
        content=top[0].token, model=record.model, source="generate", id=f"{record.sample_id}-answer"
    )
    choice = ChatCompletionChoice(message=message, stop_reason="max_tokens", logprobs=Logprobs(content=[first]))
    return ModelOutput(model=record.model, choices=[choice])


def _scores(record: Record) -> dict[str, Score]:
    rows = zip(record.words, record.target, record.probabilities, strict=True)
    answer = ", ".join(f"{word} {probability:.3f} (asked {target:g})" for word, target, probability in rows)
    values = {
        "tvd": record.tvd,
        "within_tolerance": CORRECT if record.within_tolerance else INCORRECT,
        "conditional_tvd": math.nan if record.conditional_tvd is None else record.conditional_tvd,
        "mass": 1.0 - record.other_mass,
        "first_share": conditional_share(record.probabilities),
    }
    return {name: Score(value=value, answer=answer) for name, value in values.items()}


def _results(records: Sequence[Record], row: Mapping[str, Any]) -> EvalResults:
    scores = []
    for name, metrics in COLUMNS.items():
        values = [_scores(record)[name].value for record in records]
        # NaN, which is how Inspect marks what has no score, is not equal to itself.
        undefined = sum(value != value for value in values)
        defined = {metric: row[column] for metric, column in metrics.items() if row[column] == row[column]}
        scores.append(
            EvalScore(
                name=name,
                scorer=name,
                scored_samples=len(records) - undefined,
                unscored_samples=undefined,
                metrics={metric: EvalMetric(name=metric, value=value) for metric, value in defined.items()},
            )
        )
    return EvalResults(total_samples=len(records), completed_samples=len(records), scores=scores)


def _packed(log: EvalLog) -> bytes:
    """A log in Inspect's `.eval` format, an archive, without the times at which its entries were written."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "log.eval"
        write_eval_log(log, str(written))
        with zipfile.ZipFile(written) as source, zipfile.ZipFile(packed, "w") as target:
            for name in source.namelist():
                # Deflate, unlike what Inspect writes by itself, is read by its older versions too.
                target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
