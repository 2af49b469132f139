"""Evaluate one model and variant on one case: a record for each sample."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from outctl.config.evaluations import Evaluation
from outctl.errors import NOTE, OutctlError
from outctl.evaluation.records import Progress, Record, read_records, write_records
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.setup import Job, Names, Setup
from outctl.stages.model_job import ModelJob, ModelSettings, ModelStage
from outctl.stages.prepared import MODEL_PACKAGES, loading_of, prompt_tokens
from outctl.storage.checkpoints import Stop, stopped
from outctl.storage.files import read_json
from outctl.tasks.samples import Sample, read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


class EvaluateSettings(ModelSettings):
    """Its settings."""

    case_name: str
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluationJob(ModelJob):
    """An evaluation: it keeps the records of finished samples, and one of the same specification goes on behind them.

    Attributes:
        samples: the samples' file.
        temperature: file with the temperature to ask at; None asks at 1.
    """

    samples: Path
    temperature: Path | None = None

    @property
    def settings(self) -> EvaluateSettings:
        """The settings of its specification."""
        return self.spec.settings_as(EvaluateSettings)

    @property
    def tokens_per_pass(self) -> int | None:
        """As the configuration sets them."""
        return self.settings.evaluation.tokens_per_pass

    def check(self) -> None:
        """Make sure that what it reads was made by the jobs that the specification names, and is of its case.

        Raises:
            OutctlError: something was not, or is of another case.
        """
        super().check()
        check_upstream(self.spec, f"make-samples/{self.settings.case_name}/eval", beside(self.samples))
        if self.temperature is not None:
            check_upstream(self.spec, f"fit-temperature/{self.settings.model}", beside(self.temperature))
        case = read_samples(self.samples)[0].case
        if case != self.settings.case_name:
            raise OutctlError(f"{self.samples}: samples of {case}, not of {self.settings.case_name}")

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Measure all samples and write the records."""
        from outctl.evaluation.first_tokens import first_tokens_note

        temperature = 1.0 if self.temperature is None else float(read_json(self.temperature)["temperature"])
        samples, parts = read_samples(self.samples), self.folder / "parts"
        records = _measure_in_parts(loaded, samples, self.settings, temperature, parts, stop, progress)
        write_records(self.finished, records)
        if loaded.chat and (note := first_tokens_note(loaded.tokenizer, loaded.options, records)):
            print(f"{NOTE}{self.settings.model} {self.settings.variant} {self.settings.case_name}: {note}")
        shutil.rmtree(parts, ignore_errors=True)

    def details(self, loaded: "LoadedModel") -> dict[str, str]:
        """The first question as the model is asked it."""
        from outctl.inference.prompts import build_prompts

        messages = read_samples(self.samples)[0].messages
        (prompt,) = build_prompts(loaded.tokenizer, [messages], loaded.chat, loaded.options)
        return {"example_prompt": prompt.text}


def _measure_in_parts(
    loaded: "LoadedModel",
    samples: Sequence[Sample],
    settings: EvaluateSettings,
    temperature: float,
    folder: Path,
    stop: Stop,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure samples part by part: a part's records are kept in `folder`, and a part that is there is not measured again.

    Parts begin at the same samples each time, so the records are the same whether they were measured in one go or not.
    """
    from outctl.evaluation.questions import CaseQuestions

    size = settings.evaluation.checkpoint_every
    records: list[Record] = []
    asked: CaseQuestions | None = None
    # Between parts too, so that a request is answered with how far the evaluation has come.
    with stop.listening():
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            kept = folder / f"records-{start}.jsonl"
            found = _kept_records(kept, part)
            if not found:
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


class Evaluate(ModelStage):
    """Measure the exact word probabilities of a model, with or without an adapter, on the samples of a case."""

    name: ClassVar[str] = "evaluate"
    wildcards: ClassVar[Names] = ("model", "variant", "case")
    packages: ClassVar[tuple[str, ...]] = (*MODEL_PACKAGES, "simplemma", "wordfreq")
    entry = EvaluationJob

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every model, variant and case."""
        for model in setup.models:
            yield from ((model, variant, case) for variant in setup.variants_of(model) for case in setup.cases)

    def settings(self, setup: Setup, names: Names) -> EvaluateSettings:
        """How the model is loaded and asked."""
        model, variant, case = names
        return EvaluateSettings(
            model=model,
            loading=loading_of(setup, model),
            variant=variant,
            case_name=case,
            evaluation=setup.experiment.evaluation,
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Also the samples of the case."""
        return [*super().upstream(setup, names), ("make-samples", names[2], "eval")]

    def output(self, layout: Layout, names: Names) -> Path:
        """The records."""
        return layout.records(*names)

    def choices(self, setup: Setup) -> Mapping[str, list[str]]:
        """Every variant, also the baseline at its best temperature."""
        return {**super().choices(setup), "variant": setup.variants}

    def tokens(self, setup: Setup, names: Names) -> int:
        """Where the model picks its own words, they are looked for in several passes."""
        case = setup.experiment.cases[names[2]]
        return (7 if case.picks_words else 1) * case.eval_samples * prompt_tokens(setup, names[2])
