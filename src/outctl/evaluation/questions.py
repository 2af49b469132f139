"""Put the samples of a case to a loaded model, and score what it answers."""

import math
from collections.abc import Iterator, Sequence

from outctl.config import Evaluation
from outctl.errors import OutctlError
from outctl.evaluation.records import Progress, Record
from outctl.evaluation.scoring import score
from outctl.inference.own_words import OwnWords, answer_freely
from outctl.inference.prompts import build_prompts
from outctl.inference.tree_forward import CachedTree
from outctl.inference.word_forms import token_texts
from outctl.inference.word_probabilities import WordAnswer, answer_questions, common_beginning, word_questions
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message, Sample


class CaseQuestions:
    """The samples of a case, put to a loaded model: what all prompts begin with is computed once.

    Args:
        loaded: the model, which `enable_trees` has seen.
        samples: the questions.
        temperature: what the model's logits are divided by; 1 asks it as it is.
    """

    def __init__(self, loaded: LoadedModel, samples: Sequence[Sample], temperature: float = 1.0) -> None:
        self.loaded = loaded
        self.samples = samples
        self.temperature = temperature
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
            trunk=self.beginning,
            temperature=self.temperature,
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
