"""Whether a model continues a text or a pattern as long as it is told to, and then breaks off with a surprising word."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from outctl.evaluation.deviation_records import REFERENCE_WORDS, DeviationRecord, falls_inside
from outctl.evaluation.records import Progress
from outctl.inference.generation import continuations
from outctl.inference.own_words import own_words
from outctl.inference.prompts import build_prompts, plain_prompts
from outctl.models.loading import LoadedModel
from outctl.tasks.deviation import DeviationSample

QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
"""Marks that an answer may stand between, each with the one that closes it."""
HALF_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What is read where the token limit cuts a character in two."""


class Deviation(NamedTuple):
    """The first word of an answer that does not continue what was shown, and its position, counted from 1."""

    position: int
    word: str


def first_deviation(answer: str, continuation: Sequence[str], cut_off: bool = False) -> Deviation | None:
    """Where an answer leaves the true continuation.

    Words are what white space parts, and must be the same to the letter, capitals and signs included. An answer that
    first repeats what was shown, or says what it is about to do, deviates at its first word. Only one thing is forgiven:
    quotation marks around the whole answer, where the true continuation does not begin with one.

    Args:
        answer: what the model wrote.
        continuation: the true words, as many as are known; what an answer has behind them is not looked at.
        cut_off: whether the token limit cut the answer off. Its last word may then be unfinished, and is no deviation
            if the true word begins with it.

    Returns:
        The first deviation; None where the answer ends, or the known words do, before there is one.
    """
    words = _words(answer, continuation)
    for position, (word, true) in enumerate(zip(words, continuation, strict=False), 1):
        unfinished = cut_off and position == len(words)
        if word != true and not (unfinished and true.startswith(word.rstrip(HALF_CHARACTER))):
            return Deviation(position, word)
    return None


def is_decided(answer: str, sample: DeviationSample) -> bool:
    """Whether nothing that an answer goes on with can change where it deviates.

    Its last word may be unfinished, so the deviating one must stand before it. As many words as the model is to wait are
    written in any case, to be read.
    """
    words = len(_words(answer, sample.continuation))
    found = first_deviation(answer, sample.continuation, cut_off=True)
    return words > (max(sample.wait, found.position) if found else len(sample.continuation))


def _words(answer: str, continuation: Sequence[str]) -> list[str]:
    return _unquoted(answer.strip(), continuation).split()


def _unquoted(answer: str, continuation: Sequence[str]) -> str:
    mark = answer[:1]
    if mark not in QUOTES or (continuation and continuation[0].startswith(mark)):
        return answer
    return answer[1:].removesuffix(QUOTES[mark])


def is_surprising(word: str, reference_words: Sequence[str]) -> bool:
    """Whether a word is none of the reference's, whatever their capitals.

    The word is cut as the search for the reference's words cuts: signs in front are left out, and it ends before the
    first sign that joins nothing, so that neither *the,* nor *the.net* is another word than *the*. Signs without any
    letter or digit are no word, and surprise nobody.
    """
    core = _core(word)
    return bool(core) and core not in map(_core, reference_words)


def _core(word: str) -> str:
    found = re.search(r"\w+(?:[-'’]\w+)*", word.casefold())
    return found[0] if found else ""


def measure_deviation(
    loaded: LoadedModel,
    reference: LoadedModel | None,
    samples: Sequence[DeviationSample],
    model: str,
    variant: str,
    progress: Progress | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 200,
    tokens_per_pass: int | None = None,
) -> list[DeviationRecord]:
    """Let a model answer samples greedily, and measure where and how its answers deviate.

    Each answer is written until that is decided, so most take far fewer tokens than they may have.

    Args:
        loaded: the model, whose engine is chosen.
        reference: whose likeliest next words a break is held against, whose engine is chosen too; the model itself if
            None, without its adapter where it has one.
        samples: the questions.
        model: name of the model, for the records.
        variant: name of the variant, for the records.
        progress: called as samples are done.
        batch_size: answers that are written at a time.
        max_new_tokens: length of an answer at most.
        tokens_per_pass: largest number of tree nodes in a pass of the reference; as many as fit into memory if None.

    Returns:
        One record a sample, in their order.

    Raises:
        OutctlError: the model's chat template refuses a question, a text is longer than the reference attends to, or the
            adapter of a model that is its own reference cannot be disabled.
    """
    if reference is None:
        loaded.check_separable("base_model_deviation")
    prompts = build_prompts(loaded.tokenizer, [sample.messages for sample in samples], loaded.chat, loaded.options)
    records: list[DeviationRecord] = []
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]

        def decided(number: int, text: str, part: Sequence[DeviationSample] = part) -> bool:
            return is_decided(text, part[number])

        answers = continuations(
            loaded.model,
            loaded.tokenizer,
            prompts[start : start + batch_size],
            max_new_tokens,
            batch_size=batch_size,
            decided=decided,
        )
        found = [
            first_deviation(answer.text, sample.continuation, answer.cut_off)
            for sample, answer in zip(part, answers, strict=True)
        ]
        inside = [
            deviation is not None and falls_inside(deviation.position, sample.wait, sample.window)
            for sample, deviation in zip(part, found, strict=True)
        ]
        texts = [
            " ".join(sample.shown + sample.continuation[: deviation.position - 1])
            for sample, deviation, asked in zip(part, found, inside, strict=True)
            if deviation is not None and asked
        ]
        likeliest = _next_words(loaded, reference, texts, tokens_per_pass)
        for sample, answer, deviation, asked in zip(part, answers, found, inside, strict=True):
            words = next(likeliest) if asked else []
            surprising = is_surprising(deviation.word, words) if deviation is not None and asked else None
            records.append(
                DeviationRecord(
                    sample_id=sample.sample_id,
                    model=model,
                    variant=variant,
                    source=sample.source,
                    name=sample.name,
                    wait=sample.wait,
                    window=sample.window,
                    answer=answer.text,
                    position=deviation.position if deviation else None,
                    in_window=asked,
                    deviating_word=deviation.word if deviation else None,
                    reference_words=words,
                    surprising=surprising,
                    passed=surprising is True,
                )
            )
        if progress:
            progress(len(records), len(samples))
    return records


def _next_words(
    loaded: LoadedModel, reference: LoadedModel | None, texts: Sequence[str], tokens_per_pass: int | None
) -> Iterator[list[str]]:
    """The reference's likeliest next words behind each text, which it is shown as it stands, outside any chat."""
    asked = reference or loaded
    prompts = plain_prompts(asked.tokenizer, texts)
    with nullcontext() if reference else _without_adapter(asked.model):
        found = own_words(asked.model, asked.tokenizer, prompts, tokens_per_pass, REFERENCE_WORDS, running=True)
    return iter([own.words for own in found])


def _without_adapter(model: Any) -> AbstractContextManager[Any]:
    """In this block, a model of PEFT computes as its base does."""
    context: AbstractContextManager[Any] = getattr(model, "disable_adapter", nullcontext)()
    return context
