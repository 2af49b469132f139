"""Exact probabilities that a model's answer is a given word.

The probability of a word is summed over its surface forms. A form of tokens f_1..f_n has the probability

    p(f_1 | prompt) p(f_2 | prompt, f_1) ... p(f_n | ...) p(the word ends | prompt, f_1..f_n)

where the last factor is the mass of all next tokens that do not make a longer word of it, so that *ark* collects
nothing of *arkansas*. Each form is taken in the one tokenisation that the tokenizer gives it behind the prompt. Prompts
and forms of a batch stand in one token tree, which the model's engine computes; what all prompts begin with is computed
once, in a pass of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from outctl.config.adapters import Forms
from outctl.inference.branches import Branches, begin
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.prompts import Prompt
from outctl.inference.token_tree import TokenTree
from outctl.inference.unread_spellings import unread_masses
from outctl.inference.word_forms import form_tokens, word_continuations


class WordQuestion(NamedTuple):
    """A prompt and, for each of its words, the token sequences of the word's surface forms.

    Attributes:
        prompt: ids of the prompt.
        forms: for each word, the ids of each of its forms.
        whole: whether a form counts only where the word ends behind it; otherwise the forms may be beginnings of words.
    """

    prompt: tuple[int, ...]
    forms: list[list[tuple[int, ...]]]
    whole: bool = True

    def first_tokens(self) -> Self:
        """The same question by the first tokens of its forms, which costs no nodes behind the prompt.

        What it gives a word is at least the word's probability: the mass of all that begins like one of its forms. The
        question itself where two words begin with one token, which first tokens do not tell apart.
        """
        beginnings = [list(dict.fromkeys(form[:1] for form in forms)) for forms in self.forms]
        known = [token for own in beginnings for token in own]
        return self._replace(forms=beginnings, whole=False) if len(known) == len(set(known)) else self

    def nodes_of(self, form: tuple[int, ...]) -> tuple[int, ...]:
        """The tokens of a form that are nodes of the tree; nothing is asked of what follows the last one unless it is whole."""
        return form if self.whole else form[:-1]


def word_questions(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    words: Sequence[Sequence[str]],
    forms: Forms = "all",
) -> list[WordQuestion]:
    """Pair prompts with the token sequences of their words' surface forms, or of some of these, as in `surface_forms`."""
    tokens = form_tokens(tokenizer, prompts, words, forms)
    return [WordQuestion(prompt.tokens, own) for prompt, own in zip(prompts, tokens, strict=True)]


def outcome_questions(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    outcomes: Sequence[Sequence[Sequence[str]]],
    forms: Forms = "all",
) -> list[WordQuestion]:
    """As `word_questions`, for outcomes that several words count for: an outcome has the forms of all its words."""
    words = [[word for answers in own for word in answers] for own in outcomes]
    questions = []
    for question, own in zip(word_questions(tokenizer, prompts, words, forms), outcomes, strict=True):
        by_word = iter(question.forms)
        merged = [[form for _ in answers for form in next(by_word)] for answers in own]
        questions.append(WordQuestion(question.prompt, merged))
    return questions


@dataclass(frozen=True)
class WordLayout:
    """Where the probabilities of B questions' words stand in the logits (P, V) at the P nodes of a tree that matter.

    Attributes:
        nodes: (P,) the nodes whose logits are needed.
        prompt_rows: (B,) row of the logits that follows each prompt.
        step_rows, step_tokens, step_forms: (S,) one entry a token of a form: the row that predicts it, its id, its form.
        end_rows, end_forms: (E,) one entry a form that counts only where the word ends: the row that follows it, the form.
        form_count: F, the number of all forms.
        word_forms: (B, K, L) the forms of each word, padded with F.
    """

    nodes: Tensor
    prompt_rows: Tensor
    step_rows: Tensor
    step_tokens: Tensor
    step_forms: Tensor
    end_rows: Tensor
    end_forms: Tensor
    form_count: int
    word_forms: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same layout on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def lay_out(questions: Sequence[WordQuestion], tree: TokenTree) -> WordLayout:
    """Add a batch of questions to a tree, and find the indices that read word probabilities from its logits.

    Args:
        questions: B questions; all prompts and forms must be non-empty.
        tree: the tree; it may hold beginnings of the prompts already.
    """
    rows: dict[int, int] = {}

    def row_of(node: int) -> int:
        return rows.setdefault(node, len(rows))

    prompt_rows: list[int] = []
    steps: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int]] = []
    words: list[list[list[int]]] = []
    form_count = 0
    for question in questions:
        prompt_end = tree.insert(question.prompt)[-1]
        prompt_rows.append(row_of(prompt_end))
        words.append([])
        for forms in question.forms:
            words[-1].append([])
            for tokens in forms:
                form = form_count
                form_count += 1
                path = [prompt_end, *tree.insert(question.nodes_of(tokens), after=prompt_end)]
                steps += [(row_of(node), token, form) for node, token in zip(path, tokens, strict=False)]
                if question.whole:
                    ends.append((row_of(path[-1]), form))
                words[-1][-1].append(form)
    most_words = max((len(own) for own in words), default=0)
    most_forms = max((len(forms) for own in words for forms in own), default=0)
    word_forms = torch.full((len(words), most_words, most_forms), form_count, dtype=torch.long)
    for i, own in enumerate(words):
        for k, numbers in enumerate(own):
            word_forms[i, k, : len(numbers)] = torch.tensor(numbers)
    step_table = torch.tensor(steps, dtype=torch.long).reshape(-1, 3)
    end_table = torch.tensor(ends, dtype=torch.long).reshape(-1, 2)
    return WordLayout(
        nodes=torch.tensor(list(rows), dtype=torch.long),
        prompt_rows=torch.tensor(prompt_rows, dtype=torch.long),
        step_rows=step_table[:, 0],
        step_tokens=step_table[:, 1],
        step_forms=step_table[:, 2],
        end_rows=end_table[:, 0],
        end_forms=end_table[:, 1],
        form_count=form_count,
        word_forms=word_forms,
    )


def word_log_probabilities(logits: Tensor, layout: WordLayout, continuations: Tensor) -> Tensor:
    """Log-probabilities (B, K) that the answer is each word, padded with -inf; differentiable in the logits.

    Of questions that are not `whole`: that it begins with one of the word's forms.

    Args:
        logits: (P, V) float32 logits at the batch's nodes.
        layout: the layout that the logits belong to.
        continuations: (V,) booleans: tokens that make a longer word of a word they follow.
    """
    # One exponential serves the normalisation and the mass of the ends; (P, V) is most of the memory of a step.
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    all_and_ends = torch.stack([torch.ones_like(continuations), ~continuations]).to(shifted.dtype)
    # Under autocast this product would sum 10^5 terms in 16 bits.
    with torch.autocast(logits.device.type, enabled=False):
        sums = (shifted.exp() @ all_and_ends.T).clamp_min(torch.finfo(shifted.dtype).tiny).log()
    steps = shifted[layout.step_rows, layout.step_tokens] - sums[layout.step_rows, 0]
    ends = sums[layout.end_rows, 1] - sums[layout.end_rows, 0]
    forms = (
        steps.new_zeros(layout.form_count).index_add(0, layout.step_forms, steps).index_add(0, layout.end_forms, ends)
    )
    padded = torch.cat([forms, forms.new_full((1,), -torch.inf)])
    return _logsumexp_or_nothing(padded[layout.word_forms])


def _logsumexp_or_nothing(values: Tensor) -> Tensor:
    """Logsumexp over the last axis, where rows of nothing but -inf give -inf and pass no NaN gradient back."""
    nothing = (values == -torch.inf).all(-1)
    return values.masked_fill(nothing[..., None], 0.0).logsumexp(-1).masked_fill(nothing, -torch.inf)


def shared_prefix(prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The tokens that several prompts begin with, short of the last token of any; none of a single prompt."""
    if len(prompts) < 2:
        return ()
    # The first and the last in order differ at least as early as any other two.
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return first[: next((i for i in range(most) if first[i] != last[i]), most)]


def split_by_size(
    questions: Sequence[WordQuestion], tokens: int, prefix: TokenTree, size: Callable[[TokenTree], int] = len
) -> Iterator[Sequence[WordQuestion]]:
    """Cut questions into runs that add at most `tokens` to the size of a tree; a question that adds more is a run alone.

    Args:
        questions: the questions.
        tokens: by how much a run may add to the size.
        prefix: the tree.
        size: how a tree is measured; by the number of its nodes if not said.
    """
    start = 0
    tree = prefix.copy()
    for index, question in enumerate(questions):
        _insert(tree, question)
        if size(tree) - size(prefix) > tokens and index > start:
            yield questions[start:index]
            start = index
            tree = prefix.copy()
            _insert(tree, question)
    if start < len(questions):
        yield questions[start:]


def _insert(tree: TokenTree, question: WordQuestion) -> None:
    end = tree.insert(question.prompt)[-1]
    for forms in question.forms:
        for form in forms:
            tree.insert(question.nodes_of(form), after=end)


class WordAnswer(NamedTuple):
    """What a model answers to one question.

    Attributes:
        log_probabilities: of each word.
        top_tokens: its likeliest first tokens, with their probabilities.
        unread: the most that other tokens than the tokenizer's own can have that spell the words; 0 where beginnings are asked
            for.
    """

    log_probabilities: list[float]
    top_tokens: list[tuple[int, float]]
    unread: float


@torch.inference_mode()
def answer_questions(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[WordQuestion],
    tokens_per_pass: int | None = None,
    top: int = 0,
    prefix: Branches | None = None,
    temperature: float = 1.0,
) -> Iterator[WordAnswer]:
    """Ask a model word questions, many in one pass; the answers do not depend on how they are cut into passes.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        questions: what to ask.
        tokens_per_pass: largest number of tree nodes in a forward pass; as many as fit into memory if None.
        top: how many of the likeliest first tokens to report, with their probabilities.
        prefix: a beginning of all prompts; what they have in common if None.
        temperature: what all logits are divided by; 1 asks the model as it is.

    Yields:
        One answer a question, in their order.
    """
    beginning = prefix or begin(model, shared_prefix([question.prompt for question in questions]))
    for run in split_by_size(questions, tokens_per_pass or tokens_that_fit(model), beginning.tree):
        yield from split_on_out_of_memory(run, lambda part: answer_below(beginning, tokenizer, part, top, temperature))


@torch.inference_mode()
def logits_below(beginning: Branches, questions: Sequence[WordQuestion]) -> tuple[WordLayout, Tensor]:
    """The logits that questions need whose prompts are begun in a tree, in one pass; the tree stays as it is.

    Args:
        beginning: beginnings of the prompts, of each at least its last token short.
        questions: what to ask.

    Returns:
        Where the words' probabilities stand, and the logits (P, V) in float32, both on the model's device.
    """
    branches = beginning.copy()
    layout = lay_out(questions, branches.tree)
    logits = branches.logits_at(layout.nodes.tolist())
    return layout.to(logits.device), logits


@torch.inference_mode()
def answer_below(
    beginning: Branches,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[WordQuestion],
    top: int,
    temperature: float = 1.0,
) -> list[WordAnswer]:
    """Ask questions whose prompts are begun in a tree, in one pass; the tree stays as it is.

    Args:
        beginning: beginnings of the prompts, of each at least its last token short.
        tokenizer: the model's tokenizer.
        questions: what to ask.
        top: how many of the likeliest first tokens to report.
        temperature: what all logits are divided by.
    """
    layout, logits = logits_below(beginning, questions)
    logits /= temperature
    continuations = word_continuations(tokenizer, logits.shape[-1]).to(logits.device)
    log_p = word_log_probabilities(logits, layout, continuations).double().tolist()
    values, ids = logits[layout.prompt_rows].softmax(-1).topk(top)
    # The nodes have the numbers that laying the questions out gave them.
    tree = beginning.tree.copy()
    for question in questions:
        _insert(tree, question)
    asked = [(one.prompt, [form for own in one.forms for form in own] if one.whole else []) for one in questions]
    unread = unread_masses(tokenizer, asked, tree, layout.nodes.tolist(), logits)
    tops = [
        list(zip(own, probabilities, strict=True))
        for own, probabilities in zip(ids.tolist(), values.tolist(), strict=True)
    ]
    return [
        WordAnswer(row[: len(question.forms)], top_tokens, mass)
        for question, row, top_tokens, mass in zip(questions, log_p, tops, unread, strict=True)
    ]
