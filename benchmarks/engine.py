"""Every call of the benchmarks into outctl's inference and training, in one place."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, TrainerCallback

from flops import TreeSize
from outctl.config.adapters import AdapterRecipe
from outctl.finetune.adapter import add_adapter
from outctl.finetune.collation import encode_samples
from outctl.finetune.trainer import DistributionTrainer
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import build_prompts
from outctl.inference.token_tree import TokenTree
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel, load_model
from outctl.tasks.samples import Sample

Tokens = tuple[int, ...]


class Question(NamedTuple):
    """A sample as tokens.

    Attributes:
        prompt: ids of the prompt.
        forms: for each word, the ids of its surface forms; the first is the bare word.
        target: share of each word.
    """

    prompt: Tokens
    forms: list[list[Tokens]]
    target: list[float]

    @property
    def first_tokens(self) -> list[int]:
        """First token of each bare word."""
        return [forms[0][0] for forms in self.forms]


def load(model: Path, trees: bool = False) -> LoadedModel:
    """Load a prepared model in the type that outctl computes in on this machine; all contenders begin with it.

    Args:
        model: the prepared model.
        trees: whether it is to take token trees; the others get it as transformers has it.
    """
    loaded = load_model(model, "auto", True, None)
    if trees:
        choose_engine(loaded.model)
    # Weights are mapped from their file and count as resident once they were read.
    for parameter in loaded.model.parameters():
        parameter.sum()
    return loaded


def computes_in_bf16(loaded: LoadedModel) -> bool:
    """Whether this machine computes in bfloat16."""
    return bool(next(loaded.model.parameters()).dtype == torch.bfloat16)


def read_tokenizer(model: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a prepared model, without its weights."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, local_files_only=True)
    return tokenizer


def ask(tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample]) -> tuple[list[Question], Any]:
    """The samples as tokens, for contenders, and as outctl's own questions, for `answers`."""
    prompts = build_prompts(tokenizer, [sample.messages for sample in samples], True)
    own = word_questions(tokenizer, prompts, [sample.words or [] for sample in samples])
    questions = [
        Question(prompt.tokens, question.forms, sample.target)
        for prompt, question, sample in zip(prompts, own, samples, strict=True)
    ]
    return questions, own


def answers(loaded: LoadedModel, own: Any, top: int = 0) -> Iterator[Any]:
    """Exact log-probabilities of every question's words over all their forms, and the likeliest first tokens."""
    return answer_questions(loaded.model, loaded.tokenizer, own, top=top)


def tree_size(questions: Sequence[Question]) -> TreeSize:
    """The least that must be computed: the distinct nodes of one token tree of all questions and forms.

    Logits are read behind each prompt and behind each token of a form, since the probability that a word ends counts too.
    """
    tree = TokenTree()
    read: set[int] = set()
    for question in questions:
        end = tree.insert(question.prompt)[-1]
        read.add(end)
        for forms in question.forms:
            for form in forms:
                read.update(tree.insert(form, after=end))
    return TreeSize(len(tree), sum(depth + 1 for depth in tree.depths), len(read))


def recipe(steps: int, batch: int, rank: int, learning_rate: float, seed: int) -> AdapterRecipe:
    """A training of at most so many steps, at a learning rate that stays where the warm-up brought it."""
    return AdapterRecipe(
        cases={"benchmark": steps * batch},
        steps=steps,
        batch_size=batch,
        rank=rank,
        alpha=2.0 * rank,
        learning_rate=learning_rate,
        schedule="constant_with_warmup",
        seed=seed,
        # Whoever measures does so from outside; the training itself neither measures nor saves on the way.
        log_every=10**6,
        measure_every=10**6,
        checkpoint_every=10**6,
    )


def with_adapter(loaded: LoadedModel, plan: AdapterRecipe) -> Any:
    """The model with a fresh adapter, as outctl trains it."""
    return add_adapter(loaded.model, plan)


def train(
    adapted: Any,
    loaded: LoadedModel,
    plan: AdapterRecipe,
    samples: Sequence[Sample],
    folder: Path,
    clock: TrainerCallback,
) -> None:
    """Train with outctl until `clock` stops it, which must be before the last step: after that one outctl measures."""
    items = encode_samples(loaded.tokenizer, samples, loaded.chat)
    DistributionTrainer(adapted, loaded.tokenizer, plan, items, items[:2], folder, callbacks=[clock]).train()


class HeldOut:
    """Mean TVD on questions that are never trained on, by outctl's evaluation, whoever trained.

    A second copy of the model is asked, with the trained adapter's weights copied into its own: the trained model is left
    alone, and all contenders' adapters are asked in the same way.
    """

    def __init__(self, model: Path, plan: AdapterRecipe, samples: Sequence[Sample]) -> None:
        self.loaded = load(model, trees=True)
        adapted = with_adapter(self.loaded, plan)
        adapted.to(next(self.loaded.model.parameters()).dtype).eval()
        self.asked = replace(self.loaded, model=adapted)
        self.questions, self.own = ask(self.asked.tokenizer, samples)

    @torch.no_grad()
    def __call__(self, trained: Any) -> float:
        """Measure a PEFT model whose adapter has the same layers and rank."""
        weights = {name: value for name, value in trained.named_parameters() if "lora_" in name}
        own = {name: value for name, value in self.asked.model.named_parameters() if "lora_" in name}
        if weights.keys() != own.keys():
            raise ValueError("the trained adapter has other layers than the one that is measured")
        for name, value in own.items():
            value.copy_(weights[name])
        total = 0.0
        for question, answer in zip(self.questions, answers(self.asked, self.own), strict=True):
            given = [math.exp(value) for value in answer.log_probabilities]
            missed = max(0.0, 1.0 - sum(given))
            total += 0.5 * (sum(abs(p - t) for p, t in zip(given, question.target, strict=True)) + missed)
        return total / len(self.questions)
