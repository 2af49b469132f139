"""Retention: how far an adapter moved a model where it should have stayed as it was.

Two measurements, both against the baseline, the same weights without the adapter:

- On neutral prompts, KL(baseline || adapter) over the full next-token distribution at each position of an answer. Both
  models are compared along one path, the baseline's greedy answer, as in knowledge distillation (Hinton et al. 2015,
  arXiv 1503.02531): behind answers of their own they would be asked different questions from the first difference on.
- On held-out texts, the log-likelihood of each token. Perplexity is exp(- mean log-likelihood a token).

Sequences are read a few positions at a time, with keys and values kept, so that the logits of a pass are bounded whatever
the lengths: `POSITIONS` rows of the vocabulary for each of the two models.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from pydantic import Field
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from outctl.errors import OutctlError
from outctl.inference.engine import attention_window, engine_of, most_positions
from outctl.inference.literal_text import encode_around
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.prompts import Prompt, build_prompts, leading_bos
from outctl.inference.rows import Row, read_rows
from outctl.metrics.divergences import full_kl
from outctl.metrics.statistics import mean_interval
from outctl.models.loading import LoadedModel
from outctl.storage.files import StrictRow
from outctl.tasks.samples import Message

POSITIONS = 64
"""Positions behind which one pass computes logits: 40 MB a copy in float32 for a vocabulary of 150 000."""
TEXT_TOKENS = 1024
"""Tokens of a text that are measured; of a longer one, and of one longer than the model has positions for, the beginning."""
TEXT_BINS = (*((position, position) for position in range(1, 17)), *((2**k + 1, 2 ** (k + 1)) for k in range(4, 10)))
"""First and last position of each bin of a text's tokens: 1 to 16 singly, then 17-32, 33-64, up to 513-1024."""


class Estimate(StrictRow):
    """A mean with its bootstrap interval. Undefined numbers are null: a single value has no interval."""

    value: float | None
    """The mean."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""


class PromptDivergence(StrictRow):
    """One neutral prompt."""

    prompt: str
    """What the user asks."""
    answer: str
    """The baseline's greedy answer, as far as it was followed."""
    kl: list[float | None] = Field(min_length=1)
    """KL(baseline || adapter) at each position of the answer, in nats; the last is that of its end-of-text token if it came to
    that."""


class AnswerPosition(StrictRow):
    """One position of the answers to the neutral prompts."""

    position: int = Field(ge=1)
    """The position; 1 is the first token of the answer."""
    prompts: int = Field(ge=1)
    """How many answers are so long."""
    kl: Estimate
    """Mean of their KL(baseline || adapter) there, in nats."""


class TextLikelihood(StrictRow):
    """One held-out text."""

    name: str
    """Its name, or its file."""
    tokens: int = Field(ge=1)
    """How many of its tokens are measured."""
    log_likelihood_baseline: float | None
    """Mean log-likelihood of a token under the baseline, in nats."""
    log_likelihood_adapter: float | None
    """Mean log-likelihood of a token with the adapter, in nats."""
    perplexity_baseline: float | None
    """Perplexity under the baseline."""
    perplexity_adapter: float | None
    """Perplexity with the adapter."""
    kl: float | None
    """Mean KL(baseline || adapter) over its positions, in nats."""


class TextPositions(StrictRow):
    """A range of positions of the held-out texts; each text counts with its mean in the range."""

    first: int = Field(ge=1)
    """First position of the range; 1 is the first token that is predicted."""
    last: int = Field(ge=1)
    """Last position of the range."""
    texts: int = Field(ge=1)
    """How many texts reach it."""
    kl: Estimate
    """Mean of KL(baseline || adapter), in nats."""
    perplexity_baseline: Estimate
    """exp(- mean of the baseline's log-likelihood of a token)."""
    perplexity_adapter: Estimate
    """The same with the adapter."""
    log_likelihood_change: Estimate
    """Mean of adapter minus baseline of a token's log-likelihood, in nats; negative is worse."""


class RetentionResult(StrictRow):
    """What an adapter changed on neutral prompts and held-out texts. Undefined numbers are null."""

    prompts: list[PromptDivergence]
    """Each neutral prompt."""
    kl: Estimate
    """Mean over the prompts of their mean KL(baseline || adapter) over positions, in nats."""
    kl_by_position: list[AnswerPosition]
    """The same at each position of the answers."""
    texts: list[TextLikelihood]
    """Each held-out text."""
    perplexity_baseline: Estimate
    """exp(- mean over the texts of the baseline's mean log-likelihood a token); each text counts alike."""
    perplexity_adapter: Estimate
    """The same with the adapter: the baseline's times exp(- value of `log_likelihood_change`)."""
    log_likelihood_change: Estimate
    """Mean over the texts, paired, of adapter minus baseline of the mean log-likelihood a token; negative is worse."""
    text_kl: Estimate
    """Mean over the texts of their mean KL(baseline || adapter) over positions, in nats."""
    text_by_position: list[TextPositions]
    """Both at each range of `TEXT_BINS` that a text reaches."""


class _Statistics(NamedTuple):
    """How means are given intervals."""

    confidence: float
    resamples: int
    seed: int

    def estimate(self, values: Sequence[float]) -> Estimate:
        """Mean and interval; undefined where one of the values is."""
        if not all(map(math.isfinite, values)):
            return Estimate(value=None, low=None, high=None)
        value, low, high = map(_finite, mean_interval(values, *self))
        return Estimate(value=value, low=low, high=high)

    def perplexity(self, log_likelihoods: Sequence[float]) -> Estimate:
        """exp(- mean) of the texts' mean log-likelihoods, and of the ends of the mean's interval."""
        mean = self.estimate(log_likelihoods)
        value, low, high = (None if end is None else _perplexity(end) for end in (mean.value, mean.high, mean.low))
        return Estimate(value=value, low=low, high=high)


def measure_retention(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[Message]],
    texts: Mapping[str, str],
    answer_tokens: int = 16,
    tokens_per_pass: int | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RetentionResult:
    """Compare a model with its adapter and the same model without it.

    Args:
        loaded: the model; one without an adapter is compared with itself, so that it changed nothing.
        prompts: neutral conversations whose next turn is the model's.
        texts: held-out texts by name.
        answer_tokens: tokens of an answer at most; it ends with its end-of-text token.
        tokens_per_pass: largest number of tokens in a forward pass; as many as fit into memory if None.
        confidence: level of the intervals.
        resamples: number of bootstrap resamples behind an interval.
        seed: seed of the bootstrap.

    Raises:
        OutctlError: a text is too short for a token to be predicted, memory does not suffice for a single prompt, or the
            adapter cannot be disabled.
    """
    loaded.check_separable("retention")
    tokens = tokens_per_pass or tokens_that_fit(loaded.model)
    statistics = _Statistics(confidence, resamples, seed)
    answers = _follow_answers(loaded, prompts, answer_tokens, tokens)
    read = {name: _read(loaded, name, text, tokens) for name, text in texts.items()}
    return RetentionResult(
        prompts=[
            PromptDivergence(
                prompt=turns[-1]["content"],
                answer=str(loaded.tokenizer.decode(answer.tokens, skip_special_tokens=True)),
                kl=[_finite(value) for value in answer.kl],
            )
            for turns, answer in zip(prompts, answers, strict=True)
        ],
        kl=statistics.estimate([_mean(answer.kl) for answer in answers]),
        kl_by_position=list(_by_position(answers, statistics)),
        texts=[
            TextLikelihood(
                name=name,
                tokens=len(text.kl),
                log_likelihood_baseline=_finite(_mean(text.baseline)),
                log_likelihood_adapter=_finite(_mean(text.adapter)),
                perplexity_baseline=_perplexity(_mean(text.baseline)),
                perplexity_adapter=_perplexity(_mean(text.adapter)),
                kl=_finite(_mean(text.kl)),
            )
            for name, text in read.items()
        ],
        perplexity_baseline=statistics.perplexity([_mean(text.baseline) for text in read.values()]),
        perplexity_adapter=statistics.perplexity([_mean(text.adapter) for text in read.values()]),
        log_likelihood_change=statistics.estimate([_mean(text.change) for text in read.values()]),
        text_kl=statistics.estimate([_mean(text.kl) for text in read.values()]),
        text_by_position=list(_by_bin(list(read.values()), statistics)),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _perplexity(log_likelihood: float) -> float | None:
    """exp(- mean log-likelihood); null where that is beyond all numbers."""
    try:
        return _finite(math.exp(-log_likelihood))
    except OverflowError:
        return None


class _TwoReaders:
    """Baseline and adapter, reading the same sequences.

    With tree attention, keys and values of what they have read are kept. Other models, and sequences beyond an attention
    window, are read again from the beginning, in rows without filling on the left.

    Args:
        model: the model, with or without an adapter.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.adapted = isinstance(model, PeftModel)
        self._baseline, self._adapter = DynamicCache(), DynamicCache()
        self._sequences: list[list[int]] = []

    @torch.inference_mode()
    def read(self, ids: Tensor, mask: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Read on, and give the log-probabilities (B, keep, V) in float32 behind the last `keep` tokens, of each reader.

        Args:
            ids: (B, N) the tokens that follow those read before.
            mask: (B, known + N) 1 for each token so far and 0 for what only fills up, which is to the left.
            keep: how many of the N positions are wanted.
        """
        self._sequences = self._sequences or [[] for _ in ids]
        for sequence, new, real in zip(self._sequences, ids, mask[:, -ids.shape[1] :], strict=True):
            sequence += new[real == 1].tolist()
        with self.model.disable_adapter() if self.adapted else nullcontext():
            baseline = self._log_p(self._baseline, ids, mask, keep)
        return baseline, self._log_p(self._adapter, ids, mask, keep) if self.adapted else baseline

    def _log_p(self, cache: DynamicCache, ids: Tensor, mask: Tensor, keep: int) -> Tensor:
        window = attention_window(self.model)
        if engine_of(self.model).name == "rows" or (window is not None and mask.shape[1] > window):
            rows = [Row(tokens, range(len(tokens) - keep, len(tokens))) for tokens in self._sequences]
            return torch.stack(read_rows(self.model, rows)[0]).log_softmax(-1)
        device = self.model.device
        positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        log_p: Tensor = output.logits.float().log_softmax(-1)
        return log_p


class _Answer(NamedTuple):
    """The baseline's greedy answer, and KL(baseline || adapter) at each of its positions."""

    tokens: list[int]
    kl: list[float]


def _follow_answers(
    loaded: LoadedModel, conversations: Sequence[Sequence[Message]], length: int, tokens_per_pass: int
) -> list[_Answer]:
    """The answers to all prompts, several in a pass."""
    prompts = build_prompts(loaded.tokenizer, conversations, loaded.chat, loaded.options)
    ends = _end_tokens(loaded.model, loaded.tokenizer)
    longest = max((len(prompt.tokens) for prompt in prompts), default=1)
    size = max(1, min(POSITIONS, tokens_per_pass // longest))
    answers: list[_Answer] = []
    for start in range(0, len(prompts), size):
        answers += split_on_out_of_memory(
            prompts[start : start + size], lambda part: _follow(loaded.model, part, length, ends)
        )
    return answers


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a model's answer, as generation knows them and as its tokenizer does."""
    known = model.generation_config.eos_token_id
    several = known if isinstance(known, list) else [known]
    return {token for token in (*several, tokenizer.eos_token_id) if isinstance(token, int)}


def _follow(model: Any, prompts: Sequence[Prompt], length: int, ends: set[int]) -> list[_Answer]:
    """Let both models read the prompts, and then the baseline's likeliest token again and again."""
    longest = max(len(prompt.tokens) for prompt in prompts)
    filling = [longest - len(prompt.tokens) for prompt in prompts]
    # What fills up is masked, so any token will do.
    ids = torch.tensor([[0] * extra + list(prompt.tokens) for extra, prompt in zip(filling, prompts, strict=True)])
    mask = torch.tensor(
        [[0] * extra + [1] * len(prompt.tokens) for extra, prompt in zip(filling, prompts, strict=True)]
    )
    readers = _TwoReaders(model)
    answers = [_Answer([], []) for _ in prompts]
    for _ in range(length):
        baseline, adapter = readers.read(ids, mask, keep=1)
        likeliest = baseline[:, 0].argmax(-1).tolist()
        values = full_kl(baseline, adapter)[:, 0].tolist()
        for answer, token, value in zip(answers, likeliest, values, strict=True):
            if not ends.intersection(answer.tokens[-1:]):
                answer.tokens.append(token)
                answer.kl.append(value)
        if all(answer.tokens[-1] in ends for answer in answers):
            break
        ids = torch.tensor(likeliest)[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
    return answers


def _by_position(answers: Sequence[_Answer], statistics: _Statistics) -> Iterator[AnswerPosition]:
    for position in range(1, max((len(answer.kl) for answer in answers), default=0) + 1):
        values = [answer.kl[position - 1] for answer in answers if len(answer.kl) >= position]
        yield AnswerPosition(position=position, prompts=len(values), kl=statistics.estimate(values))


class _Text(NamedTuple):
    """A text's tokens: log-likelihood under the baseline and with the adapter, and KL between the two, at each."""

    baseline: list[float]
    adapter: list[float]
    kl: list[float]

    @property
    def change(self) -> list[float]:
        """Adapter minus baseline of the log-likelihood at each token."""
        return [after - before for before, after in zip(self.baseline, self.adapter, strict=True)]


def _read(loaded: LoadedModel, name: str, text: str, tokens_per_pass: int) -> _Text:
    """Let both models read a text, behind the tokenizer's BOS token if it puts one before every text.

    Raises:
        OutctlError: no token of the text can be predicted.
    """
    bos = leading_bos(loaded.tokenizer)
    (ids,) = encode_around(loaded.tokenizer, [text], [[(0, len(text))]])
    ids = ids if bos is None else [bos, *ids]
    # The last token that is measured is not read.
    limit = most_positions(loaded.model)
    ids = ids[: min(TEXT_TOKENS, limit[1] if limit else TEXT_TOKENS) + 1]
    if len(ids) < 2:
        raise OutctlError(f"the text {name!r} is too short: no token of it follows another")
    (read,) = split_on_out_of_memory(
        [ids], lambda part: [_read_tokens(loaded.model, ids, tokens_per_pass) for ids in part]
    )
    return read


def _read_tokens(model: Any, ids: Sequence[int], tokens_per_pass: int) -> _Text:
    readers = _TwoReaders(model)
    found = _Text([], [], [])
    step = min(POSITIONS, tokens_per_pass)
    for start in range(0, len(ids) - 1, step):
        after = torch.tensor([ids[start + 1 : start + step + 1]])
        now = torch.tensor([ids[start : start + after.shape[1]]])
        both = readers.read(now, torch.ones(1, start + now.shape[1], dtype=torch.long), keep=now.shape[1])
        for values, log_p in zip((found.baseline, found.adapter), both, strict=True):
            values += log_p[0].gather(-1, after[0, :, None].to(log_p.device))[:, 0].tolist()
        found.kl.extend(full_kl(*both)[0].tolist())
    return found


def _by_bin(texts: Sequence[_Text], statistics: _Statistics) -> Iterator[TextPositions]:
    for first, last in TEXT_BINS:
        reaching = [text for text in texts if len(text.kl) >= first]
        if not reaching:
            return
        parts = [_Text(*(values[first - 1 : last] for values in text)) for text in reaching]
        yield TextPositions(
            first=first,
            last=last,
            texts=len(reaching),
            kl=statistics.estimate([_mean(part.kl) for part in parts]),
            perplexity_baseline=statistics.perplexity([_mean(part.baseline) for part in parts]),
            perplexity_adapter=statistics.perplexity([_mean(part.adapter) for part in parts]),
            log_likelihood_change=statistics.estimate([_mean(part.change) for part in parts]),
        )
