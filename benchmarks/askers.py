"""Contenders of the evaluation benchmark: ways to ask a model for the probabilities of words behind prompts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import engine
from outctl.tasks.samples import Sample

FirstTokens = list[list[float]]
"""For each question, the probability of the first token of each bare word."""


@dataclass(frozen=True)
class Setting:
    """What every contender gets.

    Attributes:
        model: the prepared model.
        gguf: its original GGUF file, if it comes from one.
        samples: the questions.
        rehearsal: how many of them a rehearsal asks.
        threads: threads to compute with.
    """

    model: Path
    gguf: Path | None
    samples: list[Sample]
    rehearsal: int
    threads: int


class Asker(ABC):
    """A loaded contender; tokenising is done while loading, for all of them."""

    def __init__(self, setting: Setting, trees: bool = False) -> None:
        torch.set_num_threads(setting.threads)
        self.setting = setting
        self.loaded = engine.load(setting.model, trees)
        self.questions, self.own = engine.ask(self.loaded.tokenizer, setting.samples)

    def rehearse(self, choice: Any) -> None:
        """Ask the first questions."""
        self.ask(slice(self.setting.rehearsal), choice)

    def run(self, choice: Any) -> None:
        """Ask all questions."""
        self.ask(slice(None), choice)

    @abstractmethod
    def ask(self, part: slice, choice: Any) -> Any:
        """Ask some of the questions, the way that is measured."""

    @abstractmethod
    def check(self) -> FirstTokens:
        """Probability of the first token of each bare word, by the same way of computing."""


class Outctl(Asker):
    """outctl: every surface form of both words, to the end of the word."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, trees=True)

    def ask(self, part: slice, choice: Any) -> Any:
        """As the pipeline does."""
        return list(engine.answers(self.loaded, self.own[part]))

    def check(self) -> FirstTokens:
        """Read off the probabilities of all first tokens, which the pipeline reports for the likeliest alone."""
        size = self.loaded.model.get_input_embeddings().weight.shape[0]
        found = []
        answers = engine.answers(self.loaded, self.own, top=size)
        for question, answer in zip(self.questions, answers, strict=True):
            probabilities = dict(answer.top_tokens)
            found.append([probabilities[token] for token in question.first_tokens])
        return found


class Script(Asker):
    """The common script: one prompt after the other, logits everywhere, the words' first tokens read off at the end."""

    @torch.inference_mode()
    def ask(self, part: slice, choice: Any) -> FirstTokens:
        """One forward pass a prompt."""
        found = []
        for question in self.questions[part]:
            logits = self.loaded.model(input_ids=torch.tensor([question.prompt])).logits
            probabilities = logits[0, -1].float().softmax(-1)
            found.append(probabilities[question.first_tokens].tolist())
        return found

    def check(self) -> FirstTokens:
        """What is measured."""
        return self.ask(slice(None), None)


class Padded(Asker):
    """transformers with batches padded on the left and logits at the last position alone; a choice is a batch size."""

    @torch.inference_mode()
    def ask(self, part: slice, choice: int) -> FirstTokens:
        """One forward pass a batch."""
        questions = self.questions[part]
        found: FirstTokens = []
        for start in range(0, len(questions), choice):
            batch = questions[start : start + choice]
            length = max(len(question.prompt) for question in batch)
            ids = torch.zeros(len(batch), length, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, question in enumerate(batch):
                ids[row, length - len(question.prompt) :] = torch.tensor(question.prompt)
                mask[row, length - len(question.prompt) :] = 1
            positions = (mask.cumsum(-1) - 1).clamp_min(0)
            logits = self.loaded.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
            ).logits
            probabilities = logits[:, -1].float().softmax(-1)
            found += [row[question.first_tokens].tolist() for row, question in zip(probabilities, batch, strict=True)]
        return found

    def check(self) -> FirstTokens:
        """What is measured."""
        return self.ask(slice(None), 8)


class Harness(Asker):
    """lm-evaluation-harness: `loglikelihood` of each bare word behind its prompt; a choice is a batch size.

    Requests are handed over as token ids. Given text, the harness moves the line break at a prompt's end into the
    continuation, and would measure something else.
    """

    def __init__(self, setting: Setting) -> None:
        from lm_eval.models.huggingface import HFLM

        super().__init__(setting)
        self.harness = HFLM(pretrained=self.loaded.model, tokenizer=self.loaded.tokenizer, backend="causal")

    def _likelihoods(self, pairs: Sequence[tuple[engine.Tokens, engine.Tokens]], batch: int) -> list[float]:
        self.harness.batch_size_per_gpu = batch
        requests = [(("", ""), list(prompt), list(word)) for prompt, word in pairs]
        return [value for value, _ in self.harness._loglikelihood_tokens(requests, disable_tqdm=True)]

    def ask(self, part: slice, choice: int) -> list[float]:
        """Log-likelihood of each bare word."""
        pairs = [(question.prompt, forms[0]) for question in self.questions[part] for forms in question.forms]
        return self._likelihoods(pairs, choice)

    def check(self) -> FirstTokens:
        """The same with the first tokens for words."""
        pairs = [(question.prompt, (token,)) for question in self.questions for token in question.first_tokens]
        values = iter(np.exp(self._likelihoods(pairs, 8)).tolist())
        return [[next(values) for _ in question.forms] for question in self.questions]


class LlamaCpp(Asker):
    """llama-cpp-python on the GGUF file: what a prompt shares with the one before stays in the key-value cache.

    That is how its own generation treats consecutive prompts. The weights are the file's 4-bit ones, as its users have
    them; the others compute with the same numbers written out in 16 bits.
    """

    def __init__(self, setting: Setting) -> None:
        from llama_cpp import Llama

        if setting.gguf is None:
            raise ValueError("the model does not come from a GGUF file")
        self.setting = setting
        # The tokens come from the same tokenizer as everyone's.
        self.questions, _ = engine.ask(engine.read_tokenizer(setting.model), setting.samples)
        self.llama = Llama(
            model_path=str(setting.gguf),
            n_ctx=1024,
            n_batch=512,
            n_threads=setting.threads,
            n_threads_batch=setting.threads,
            verbose=False,
        )

    def ask(self, part: slice, choice: Any) -> FirstTokens:
        """One prompt after the other, each from where it differs from the one before."""
        found = []
        # A run begins as the first one did: nothing of the last run's prompts is left.
        self.llama.reset()
        for question in self.questions[part]:
            known = self.llama.input_ids[: self.llama.n_tokens].tolist()
            shared = 0
            while shared < min(len(known), len(question.prompt) - 1) and known[shared] == question.prompt[shared]:
                shared += 1
            self.llama.n_tokens = shared
            self.llama.eval(question.prompt[shared:])
            found.append(self._probabilities()[question.first_tokens].tolist())
        return found

    def _probabilities(self) -> Any:
        logits = np.ctypeslib.as_array(self.llama._ctx.get_logits_ith(-1), shape=(self.llama.n_vocab(),))
        powers = np.exp(logits.astype(np.float64) - logits.max())
        return powers / powers.sum()

    def check(self) -> FirstTokens:
        """What is measured."""
        return self.ask(slice(None), None)
