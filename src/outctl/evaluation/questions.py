"""Put the samples of a case to a loaded model, and score what it answers."""

import math
from collections.abc import Iterator, Sequence

from outctl.config.evaluations import Evaluation
from outctl.errors import OutctlError
from outctl.evaluation.records import Progress, Record
from outctl.evaluation.scoring import score
from outctl.inference.branches import begin
from outctl.inference.own_words import OwnWords, answer_freely
from outctl.inference.prompts import Prompt, build_prompts
from outctl.inference.word_forms import token_texts
from outctl.inference.word_probabilities import (
    WordAnswer,
    answer_questions,
    outcome_questions,
    shared_prefix,
    word_questions,
)
from outctl.metrics.statistics import conditional_share
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message, Sample


class CaseQuestions:
    """The samples of a case, put to a loaded model: what all prompts begin with is computed once.

    Args:
        loaded: the model, whose engine is chosen.
        samples: the questions.
        temperature: what the model's logits are divided by; 1 asks it as it is.
    """

    def __init__(self, loaded: LoadedModel, samples: Sequence[Sample], temperature: float = 1.0) -> None:
        self.loaded = loaded
        self.samples = samples
        self.temperature = temperature
        self.prompts = build_prompts(
            loaded.tokenizer, [sample.messages for sample in samples], loaded.chat, loaded.options
        )
        free = [number for number, sample in enumerate(samples) if sample.free_messages]
        asked = [samples[number].free_messages or [] for number in free]
        self.free_prompts = dict(
            zip(free, build_prompts(loaded.tokenizer, asked, loaded.chat, loaded.options), strict=True)
        )
        every = [prompt.tokens for prompt in (*self.prompts, *self.free_prompts.values())]
        self.beginning = begin(loaded.model, shared_prefix(every))

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
        own = [number for number in numbers if self.samples[number].words is None]
        given = [number for number in numbers if self.samples[number].words is not None]
        limited = [number for number in given if number in self.free_prompts]
        records: dict[int, Record] = {}
        for number, (words, answer) in zip(own, self._answers_of_its_own(own, evaluation), strict=True):
            sample = self.samples[number]
            if len(words.words) < len(sample.target):
                raise OutctlError(
                    f"{model} {variant}: answers {sample.sample_id} with fewer than {len(sample.target)} words"
                )
            records[number] = self._scored(number, model, variant, words.words, answer, words)
            if progress:
                progress(len(records), len(numbers))
        unasked = self._answers([(self.free_prompts[number], number) for number in limited], evaluation)
        free_shares = {number: _first_share(answer) for number, answer in zip(limited, unasked, strict=True)}
        answers = self._answers([(self.prompts[number], number) for number in given], evaluation)
        for number, answer in zip(given, answers, strict=True):
            asked = self.samples[number].words or []
            records[number] = self._scored(number, model, variant, asked, answer, None, free_shares.get(number))
            if progress:
                progress(len(records), len(numbers))
        return [records[number] for number in numbers]

    def _answers(self, asked: Sequence[tuple[Prompt, int]], evaluation: Evaluation) -> Iterator[WordAnswer]:
        """Answers to prompts in the words of samples."""
        prompts = [prompt for prompt, _ in asked]
        outcomes = [self.samples[number].outcomes for _, number in asked]
        return answer_questions(
            self.loaded.model,
            self.loaded.tokenizer,
            outcome_questions(self.loaded.tokenizer, prompts, outcomes),
            evaluation.tokens_per_pass,
            evaluation.top_tokens,
            self.beginning,
            self.temperature,
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
            prefix=self.beginning,
            temperature=self.temperature,
        )

    def _scored(
        self,
        number: int,
        model: str,
        variant: str,
        words: Sequence[str],
        answer: WordAnswer,
        search: OwnWords | None,
        free_share: float | None = None,
    ) -> Record:
        tokenizer = self.loaded.tokenizer
        texts = token_texts(tokenizer, self.loaded.model.get_input_embeddings().weight.shape[0])
        top: list[tuple[str, float]] = [
            (texts[token] or str(tokenizer.convert_ids_to_tokens(token)), probability)
            for token, probability in answer.top_tokens
        ]
        sample, log_p = self.samples[number], answer.log_probabilities
        return score(
            sample,
            model,
            variant,
            list(words),
            log_p,
            top,
            unresolved_mass=search and search.unresolved,
            search_complete=search and search.complete,
            unread_spellings_bound=answer.unread,
            free_share=free_share,
        )


def _first_share(answer: WordAnswer) -> float | None:
    """`conditional_share` of the first word; None where its words have no mass."""
    share = conditional_share([math.exp(value) for value in answer.log_probabilities])
    return None if math.isnan(share) else share


def ask_words(loaded: LoadedModel, prompt: str, words: Sequence[str]) -> dict[str, float]:
    """Exact probability that the answer to one prompt is each word.

    Args:
        loaded: the model, whose engine is chosen.
        prompt: what the user asks.
        words: distinct words.

    Raises:
        OutctlError: two words are spelt alike, or one is empty.
    """
    prompts = build_prompts(loaded.tokenizer, [[Message(role="user", content=prompt)]], loaded.chat, loaded.options)
    questions = word_questions(loaded.tokenizer, prompts, [list(words)])
    (answer,) = answer_questions(loaded.model, loaded.tokenizer, questions)
    return {word: math.exp(value) for word, value in zip(words, answer.log_probabilities, strict=True)}
