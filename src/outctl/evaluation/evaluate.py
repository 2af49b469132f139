"""Evaluate one model and variant on one case: a record for each sample.

A job computes for seconds and loads for longer, so a model that is loaded is used: when its own case is done, a job goes on
with cases of the same model and variant that other jobs of the same run are about to evaluate. Their records are kept where
an interrupted evaluation's would be, and those jobs take them over without loading anything.
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from outctl.checkpoints import Stop, stopped
from outctl.errors import OutctlError
from outctl.evaluation.model_job import load_ready
from outctl.evaluation.records import Progress, Record, read_records, write_records
from outctl.files import copy_file, read_json
from outctl.layout import beside
from outctl.locks import BusyError, only_writer
from outctl.provenance import check_upstream, is_made, write_provenance
from outctl.specs import EvaluateSettings, Spec
from outctl.tasks.samples import Sample, read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel

AHEAD = 150.0
"""Seconds since the loading began in which a job may turn to another one's case: within what its run time allows for that."""


@dataclass(frozen=True)
class EvaluationJob:
    """What an evaluation reads and writes.

    Attributes:
        spec: its specification.
        model_dir: the prepared model.
        samples: the samples' file.
        adapter: the adapter to ask with; None for the baseline.
        output: the records' file.
        checkpoints: where the records of finished samples are kept meanwhile; an evaluation of the same specification
            goes on behind them.
        temperature: file with the temperature to ask at; None asks at 1.
    """

    spec: Spec
    model_dir: Path
    samples: Path
    adapter: Path | None
    output: Path
    checkpoints: Path
    temperature: Path | None = None

    @property
    def settings(self) -> EvaluateSettings:
        """The settings of its specification."""
        return self.spec.settings_as(EvaluateSettings)

    @property
    def folder(self) -> Path:
        """Where what is done of it is kept."""
        return self.checkpoints / self.spec.hash[:16]

    @property
    def finished(self) -> Path:
        """Its records once they are whole, until the workflow knows of them: it may delete the output of a job that it lost."""
        return self.folder / "finished" / self.output.name

    def questions(self) -> list[Sample]:
        """Its samples.

        Raises:
            OutctlError: they are of another case, or were not made by the job that the specification names.
        """
        settings = self.settings
        check_upstream(self.spec, f"fetch-model/{settings.model}", self.model_dir / "provenance.json", whole=False)
        check_upstream(self.spec, f"make-samples/{settings.case_name}/eval", beside(self.samples))
        if self.adapter is not None:
            adapter = f"finetune/{settings.model}/{settings.variant}"
            check_upstream(self.spec, adapter, self.adapter / "provenance.json")
        if self.temperature is not None:
            check_upstream(self.spec, f"fit-temperature/{settings.model}", beside(self.temperature))
        questions = read_samples(self.samples)
        if questions[0].case != settings.case_name:
            raise OutctlError(f"{self.samples}: samples of {questions[0].case}, not of {settings.case_name}")
        return questions


def evaluate_case(job: EvaluationJob, progress: Progress | None = None, ahead: Sequence[EvaluationJob] = ()) -> None:
    """Measure a model on the samples of a file and write the records, with their provenance beside them.

    Args:
        job: what to evaluate.
        progress: called as samples are done.
        ahead: evaluations of the same model and variant that others are about to do.

    Raises:
        OutctlError: the samples are of another case, the adapter does not belong to the model, or one of them was not
            made by the job that the specification names; or the job was asked to stop.
    """
    began = time.monotonic()
    questions = job.questions()
    loaded: LoadedModel | None = None
    with only_writer(job.output), only_writer(job.folder):
        if is_made(beside(job.finished), job.spec):
            print(f"{job.output}: finished by another start, taken from {job.finished}")
        else:
            loaded = load_ready(job.model_dir, job.settings.loading, job.adapter)
            _finish(job, loaded, questions, progress)
        copy_file(job.finished, job.output)
        copy_file(beside(job.finished), beside(job.output))
    if loaded is not None:
        for other in ahead:
            if time.monotonic() - began < AHEAD:
                _go_ahead(other, loaded)


def _go_ahead(job: EvaluationJob, loaded: "LoadedModel") -> None:
    """Evaluate another job's case, as far as nobody works on it; whatever goes wrong is that job's to say."""
    try:
        questions = job.questions()
        with ExitStack() as locks:
            for path in (job.output, job.folder):
                locks.enter_context(only_writer(path, wait=False))
            if not is_made(beside(job.finished), job.spec):
                _finish(job, loaded, questions, None)
                print(f"{job.output}: evaluated too, since the model was loaded; its own job takes it over")
    except (BusyError, OutctlError):
        return


def _finish(job: EvaluationJob, loaded: "LoadedModel", questions: Sequence[Sample], progress: Progress | None) -> None:
    """Measure all samples, and keep the records with their provenance among the checkpoints."""
    temperature = 1.0 if job.temperature is None else float(read_json(job.temperature)["temperature"])
    parts = job.folder / "parts"
    write_records(job.finished, _measure_in_parts(loaded, questions, job.settings, temperature, parts, progress))
    details = {"base_weights_hash": loaded.weights_hash, **loaded.description}
    write_provenance(beside(job.finished), job.spec, [job.finished], **details)
    shutil.rmtree(parts, ignore_errors=True)


def _measure_in_parts(
    loaded: "LoadedModel",
    samples: Sequence[Sample],
    settings: EvaluateSettings,
    temperature: float,
    folder: Path,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure samples part by part: a part's records are kept in `folder`, and a part that is there is not measured again.

    Parts begin at the same samples each time, so the records are the same whether they were measured in one go or not.
    """
    from outctl.evaluation.questions import CaseQuestions

    size = settings.evaluation.checkpoint_every
    stop = Stop()
    records: list[Record] = []
    asked: CaseQuestions | None = None
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        kept = folder / f"records-{start}.jsonl"
        found = _kept_records(kept, part)
        if not found:
            with stop.listening():
                asked = asked or CaseQuestions(loaded, samples, temperature)
                found = asked.measure(
                    range(start, start + len(part)),
                    settings.model,
                    settings.variant,
                    settings.evaluation,
                    partial(_report, progress, start, len(samples)),
                )
                write_records(kept, found)
        records += found
        if stop.requested and len(records) < len(samples):
            raise stopped(f"{len(records)} of {len(samples)} samples")
    return records


def _report(progress: Progress | None, start: int, total: int, done: int, _: int) -> None:
    if progress:
        progress(start + done, total)


def _kept_records(file: Path, samples: Sequence[Sample]) -> list[Record]:
    """Records of these samples that an interrupted evaluation kept; none where they are missing or broken."""
    try:
        records = read_records(file)
    except OutctlError:
        return []
    return records if [record.sample_id for record in records] == [sample.sample_id for sample in samples] else []
