"""Evaluate one model and variant on one case: a record for each sample."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from outctl.checkpoints import Stop, stopped
from outctl.config import Evaluation
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records, write_records
from outctl.evaluation.scoring import score
from outctl.files import copy_file
from outctl.inference.own_words import OwnWords, answer_freely
from outctl.inference.prompts import build_prompts
from outctl.inference.tree_forward import CachedTree, enable_trees
from outctl.inference.word_forms import token_texts
from outctl.inference.word_probabilities import WordAnswer, answer_questions, common_beginning, word_questions
from outctl.layout import beside
from outctl.locks import only_writer
from outctl.models.loading import LoadedModel, load_model
from outctl.provenance import check_upstream, is_made, write_provenance
from outctl.specs import EvaluateSettings, Spec
from outctl.tasks.samples import Message, Sample, read_samples

Progress = Callable[[int, int], None]
"""Told how many samples are done, of how many."""


def evaluate_case(
    spec: Spec,
    model_dir: Path,
    samples: Path,
    adapter: Path | None,
    output: Path,
    checkpoints: Path,
    progress: Progress | None = None,
) -> None:
    """Measure a model on the samples of a file and write the records, with their provenance beside them.

    Args:
        spec: the specification of this job.
        model_dir: the prepared model.
        samples: the samples' file.
        adapter: the adapter to ask with; None for the baseline.
        output: the records' file.
        checkpoints: where the records of finished samples are kept meanwhile; an evaluation of the same specification
            goes on behind them.
        progress: called as samples are done.

    Raises:
        OutctlError: the samples are of another case, the adapter does not belong to the model, or one of them was not
            made by the job that the specification names; or the job was asked to stop.
    """
    settings = spec.settings_as(EvaluateSettings)
    check_upstream(spec, f"fetch-model/{settings.model}", model_dir / "provenance.json", whole=False)
    check_upstream(spec, f"make-samples/{settings.case_name}/eval", beside(samples))
    if adapter is not None:
        check_upstream(spec, f"finetune/{settings.model}/{settings.variant}", adapter / "provenance.json")
    questions = read_samples(samples)
    if questions[0].case != settings.case_name:
        raise OutctlError(f"{samples}: samples of {questions[0].case}, not of {settings.case_name}")
    folder = checkpoints / spec.hash[:16]
    with only_writer(output), only_writer(folder):
        # The workflow deletes an output that was finished after the workflow itself was killed, so it is kept here too.
        finished = folder / "finished" / output.name
        if is_made(beside(finished), spec):
            print(f"{output}: finished by another start, taken from {finished}")
        else:
            loaded = load_model(model_dir, settings.loading.precision, settings.loading.chat, adapter)
            enable_trees(loaded.model)
            write_records(finished, _measure_in_parts(loaded, questions, settings, folder / "parts", progress))
            details = {"base_weights_hash": loaded.weights_hash, **loaded.description}
            write_provenance(beside(finished), spec, [finished], **details)
            shutil.rmtree(folder / "parts", ignore_errors=True)
        copy_file(finished, output)
        copy_file(beside(finished), beside(output))


def _measure_in_parts(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    settings: EvaluateSettings,
    folder: Path,
    progress: Progress | None = None,
) -> list[Record]:
    """As `measure`, part by part: a part's records are kept in `folder`, and a part that is there is not measured again.

    Parts begin at the same samples each time, so the records are the same whether they were measured in one go or not.
    """
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
                asked = asked or CaseQuestions(loaded, samples)
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


class CaseQuestions:
    """The samples of a case, put to a loaded model: what all prompts begin with is computed once.

    Args:
        loaded: the model, which `enable_trees` has seen.
        samples: the questions.
    """

    def __init__(self, loaded: LoadedModel, samples: Sequence[Sample]) -> None:
        self.loaded = loaded
        self.samples = samples
        self.prompts = build_prompts(loaded.tokenizer, [sample.messages for sample in samples], loaded.chat)
        self.beginning = CachedTree(loaded.model, common_beginning([prompt.tokens for prompt in self.prompts]))

    def measure(
        self, numbers: Sequence[int], model: str, variant: str, evaluation: Evaluation, progress: Progress | None = None
    ) -> list[Record]:
        """Ask some of the samples and score what the model answers.

        Args:
            numbers: which samples.
            model: name of the model, for the records.
            variant: name of the variant, for the records.
            evaluation: how models are asked.
            progress: called as samples are done.

        Returns:
            One record a sample, in their order.

        Raises:
            OutctlError: the model answers a sample with fewer words than it asks for.
        """
        free = [number for number in numbers if self.samples[number].words is None]
        given = [number for number in numbers if self.samples[number].words is not None]
        records: dict[int, Record] = {}
        for number, (own, answer) in zip(free, self._answers_of_its_own(free, evaluation), strict=True):
            sample = self.samples[number]
            if len(own.words) < len(sample.target):
                raise OutctlError(
                    f"{model} {variant}: answers {sample.sample_id} with fewer than {len(sample.target)} words"
                )
            records[number] = self._scored(number, model, variant, own.words, answer, own.unresolved)
            if progress:
                progress(len(records), len(numbers))
        for number, answer in zip(given, self._answers(given, evaluation), strict=True):
            words = self.samples[number].words or []
            records[number] = self._scored(number, model, variant, words, answer, None)
            if progress:
                progress(len(records), len(numbers))
        return [records[number] for number in numbers]

    def _answers(self, numbers: Sequence[int], evaluation: Evaluation) -> Iterator[WordAnswer]:
        words = [self.samples[number].words or [] for number in numbers]
        questions = word_questions(self.loaded.tokenizer, [self.prompts[number] for number in numbers], words)
        return answer_questions(
            self.loaded.model,
            self.loaded.tokenizer,
            questions,
            evaluation.tokens_per_pass,
            evaluation.top_tokens,
            self.beginning,
        )

    def _answers_of_its_own(
        self, numbers: Sequence[int], evaluation: Evaluation
    ) -> Iterator[tuple[OwnWords, WordAnswer]]:
        return answer_freely(
            self.loaded.model,
            self.loaded.tokenizer,
            [self.prompts[number] for number in numbers],
            evaluation.tokens_per_pass,
            top=evaluation.top_tokens,
            trunk=self.beginning,
        )

    def _scored(
        self, number: int, model: str, variant: str, words: Sequence[str], answer: WordAnswer, unresolved: float | None
    ) -> Record:
        tokenizer = self.loaded.tokenizer
        texts = token_texts(tokenizer, self.loaded.model.get_input_embeddings().weight.shape[0])
        top: list[tuple[str, float]] = [
            (texts[token] or str(tokenizer.convert_ids_to_tokens(token)), probability)
            for token, probability in answer.top_tokens
        ]
        return score(self.samples[number], model, variant, list(words), answer.log_probabilities, top, unresolved)


def ask_words(loaded: LoadedModel, prompt: str, words: Sequence[str]) -> dict[str, float]:
    """Exact probability that the answer to one prompt is each word.

    Args:
        loaded: the model, which `enable_trees` has seen.
        prompt: what the user asks.
        words: distinct words.

    Raises:
        OutctlError: two words are spelt alike, or one is empty.
    """
    prompts = build_prompts(loaded.tokenizer, [[Message(role="user", content=prompt)]], loaded.chat)
    questions = word_questions(loaded.tokenizer, prompts, [list(words)])
    (answer,) = answer_questions(loaded.model, loaded.tokenizer, questions)
    return {word: math.exp(value) for word, value in zip(words, answer.log_probabilities, strict=True)}
