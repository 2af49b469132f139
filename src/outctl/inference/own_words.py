"""The words that a model itself would answer, likeliest first: its next-token distribution expanded to whole words.

Beginning with the likeliest first tokens, the likeliest unfinished word is extended token by token until no unfinished
word could overtake the best finished ones. Finished words are then measured exactly, over all their surface forms, as
given words are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from outctl.inference.branches import Branches, begin
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.prompts import Prompt
from outctl.inference.token_bytes import begins_letter, first_character
from outctl.inference.token_tree import TokenTree
from outctl.inference.word_forms import surface_forms, token_bytes, word_continuations
from outctl.inference.word_probabilities import (
    WordAnswer,
    answer_below,
    shared_prefix,
    word_questions,
)

WIDTH = 8
"""Unfinished words of a prompt that are extended in one pass."""
ROUNDS = 6
"""Passes at most; what is then unfinished is reported as unresolved mass."""
SPELLINGS = 4
"""Surface forms of one word, so the factor by which unseen forms may add to an unfinished one."""


class OwnWords(NamedTuple):
    """The likeliest words of one prompt.

    Attributes:
        words: at most as many as were asked for, likeliest first.
        unresolved: probability mass of unfinished words that was not expanded.
    """

    words: list[str]
    unresolved: float


def fold(text: str) -> str:
    """The word that a surface form belongs to: without its leading space, and not capitalised as a sentence start."""
    word = text.removeprefix(" ")
    return word[:1].lower() + word[1:] if word[1:] == word[1:].lower() else word


@dataclass
class _Search:
    """State of one prompt: the tree node it ends at, finished words, and unfinished ones as token sequences behind it."""

    prompt_end: int
    finished: dict[str, float] = field(default_factory=dict)
    unfinished: dict[tuple[int, ...], float] = field(default_factory=dict)
    dropped: float = 0.0

    def done(self, count: int) -> bool:
        """Whether no unfinished word can come among the `count` likeliest."""
        if not self.unfinished:
            return True
        best = sorted(self.finished.values(), reverse=True)
        if len(best) < count:
            return False
        runner_up = best[count] if len(best) > count else 0.0
        return runner_up + SPELLINGS * max(self.unfinished.values()) <= best[count - 1]

    def take(self) -> list[tuple[tuple[int, ...], float]]:
        """Remove and return the likeliest unfinished words."""
        chosen = sorted(self.unfinished.items(), key=lambda item: (-item[1], item[0]))[:WIDTH]
        for tokens, _ in chosen:
            del self.unfinished[tokens]
        return chosen

    def likeliest(self, count: int) -> list[str]:
        """The best finished words."""
        words: list[str] = []
        for word in sorted(self.finished, key=lambda word: (-self.finished[word], word)):
            if not any(set(surface_forms(word)) & set(surface_forms(other)) for other in words):
                words.append(word)
            if len(words) == count:
                break
        return words


def _starts_word(spelling: bytes, running: bool) -> bool:
    """Whether a first token of these bytes begins a word: letters, or first bytes of one, behind at most one space.

    In running text the space must be there, as the token would go on with the last word without one, and digits begin
    words too.
    """
    if spelling == b" ":
        return True
    return (spelling.startswith(b" ") or not running) and _starts_bare(spelling.removeprefix(b" "), running)


def _starts_bare(spelling: bytes, running: bool) -> bool:
    """Whether a token of these bytes begins a word without a space."""
    first = first_character(spelling)
    return begins_letter(spelling) or first.isalpha() or (running and first.isalnum())


@torch.inference_mode()
def own_words(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    tokens_per_pass: int | None = None,
    count: int = 2,
    running: bool = False,
) -> list[OwnWords]:
    """The `count` likeliest whole words behind each prompt.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        prompts: token ids of each prompt.
        tokens_per_pass: largest number of tree nodes in a forward pass; as many as fit into memory if None.
        count: how many words to find.
        running: whether the prompts are running text, whose next word stands behind a space and may be a number.
    """
    beginning = begin(model, shared_prefix(prompts))
    found: list[OwnWords] = []
    for run in _runs(prompts, tokens_per_pass or tokens_that_fit(model), beginning.tree):
        found += split_on_out_of_memory(
            run, lambda part: _search(_begun(beginning, part), tokenizer, part, count, running)
        )
    return found


@torch.inference_mode()
def answer_freely(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    tokens_per_pass: int | None = None,
    count: int = 2,
    top: int = 0,
    prefix: Branches | None = None,
    temperature: float = 1.0,
) -> Iterator[tuple[OwnWords, WordAnswer]]:
    """The `count` likeliest whole words behind each prompt, and their exact probabilities.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        prompts: what the model is shown.
        tokens_per_pass: largest number of tree nodes in a forward pass; as many as fit into memory if None.
        count: how many words to find.
        top: how many of the likeliest first tokens to report, with their probabilities.
        prefix: a beginning of all prompts; what they have in common if None.
        temperature: what all logits are divided by, in the search too; 1 asks the model as it is.

    Yields:
        Words and answer of each prompt, in their order.
    """
    beginning = prefix or begin(model, shared_prefix([prompt.tokens for prompt in prompts]))

    def answer(part: Sequence[Prompt]) -> list[tuple[OwnWords, WordAnswer]]:
        tokens = [prompt.tokens for prompt in part]
        # The prompts are computed once; the search and the measurement both go on from there.
        begun = _begun(beginning, tokens)
        found = _search(begun, tokenizer, tokens, count, temperature=temperature)
        questions = word_questions(tokenizer, part, [own.words for own in found])
        return list(zip(found, answer_below(begun, tokenizer, questions, top, temperature), strict=True))

    done = 0
    for run in _runs([prompt.tokens for prompt in prompts], tokens_per_pass or tokens_that_fit(model), beginning.tree):
        yield from split_on_out_of_memory(prompts[done : done + len(run)], answer)
        done += len(run)


def _runs(prompts: Sequence[tuple[int, ...]], tokens: int, prefix: TokenTree) -> Iterator[Sequence[tuple[int, ...]]]:
    """Cut prompts into runs of at most so many new nodes, and in no round more unfinished words than that.

    No prompt of a run goes on with another one: where a prompt ends, its tree is still to be computed.
    """
    start = 0
    tree, ends = prefix.copy(), set[int]()
    for index, prompt in enumerate(prompts):
        size = len(tree)
        path = tree.insert(prompt)
        within = path[-1] < size and path[-1] not in ends
        full = len(tree) - len(prefix) > tokens or (index - start + 1) * WIDTH > tokens
        if index > start and (full or within or not ends.isdisjoint(path[:-1])):
            yield prompts[start:index]
            start = index
            tree, ends = prefix.copy(), set()
            path = tree.insert(prompt)
        ends.add(path[-1])
    if start < len(prompts):
        yield prompts[start:]


def _begun(beginning: Branches, prompts: Sequence[tuple[int, ...]]) -> Branches:
    """A tree of all prompts, each without its last token, so that the logits behind it can still be asked for."""
    begun = beginning.copy()
    for prompt in prompts:
        begun.tree.insert(prompt[:-1])
    begun.compute()
    return begun


def _search(
    begun: Branches,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    count: int,
    running: bool = False,
    temperature: float = 1.0,
) -> list[OwnWords]:
    """The likeliest words behind prompts that are begun in a tree; the tree stays as it is."""
    branches = begun.copy()
    searches = [_Search(branches.tree.insert(prompt)[-1], unfinished={(): 1.0}) for prompt in prompts]
    for _ in range(ROUNDS + 1):
        unsure = [search for search in searches if not search.done(count)]
        if not unsure:
            break
        _extend(branches, tokenizer, unsure, running, temperature)
    return [OwnWords(search.likeliest(count), search.dropped + sum(search.unfinished.values())) for search in searches]


def _extend(
    branches: Branches,
    tokenizer: PreTrainedTokenizerBase,
    searches: Sequence[_Search],
    running: bool,
    temperature: float,
) -> None:
    """Extend the likeliest unfinished words of each search by one token."""
    chosen = [(search, tokens, mass) for search in searches for tokens, mass in search.take()]
    nodes = [
        branches.tree.insert(tokens, search.prompt_end)[-1] if tokens else search.prompt_end
        for search, tokens, _ in chosen
    ]
    probabilities = (branches.logits_at(nodes) / temperature).softmax(-1)
    size = probabilities.shape[-1]
    continuations = word_continuations(tokenizer, size).to(probabilities.device)
    starts = word_starts(tokenizer, size, running).to(probabilities.device)
    spellings = token_bytes(tokenizer, size)
    first = torch.tensor([not tokens for _, tokens, _ in chosen], device=probabilities.device)
    ends = (probabilities @ (~continuations).to(probabilities.dtype)).tolist()
    following = torch.where(first[:, None], starts, continuations)
    # A space that is a token of its own only begins a word if the word itself follows it.
    spaces = [spellings[tokens[0]] == b" " if len(tokens) == 1 else False for _, tokens, _ in chosen]
    bare = bare_starts(tokenizer, size, running).to(probabilities.device)
    following = torch.where(torch.tensor(spaces, device=probabilities.device)[:, None], bare, following)
    allowed = probabilities.masked_fill(~following, 0.0)
    values, ids = allowed.topk(min(4 * WIDTH, size))
    missed = (allowed.sum(-1) - values.sum(-1)).clamp_min(0.0).tolist()
    for (search, _, mass), rest in zip(chosen, missed, strict=True):
        search.dropped += mass * rest
    for (search, tokens, mass), end, row, row_ids in zip(chosen, ends, values.tolist(), ids.tolist(), strict=True):
        spelling = b"".join(spellings[token] for token in tokens)
        try:
            word = fold(spelling.decode())
        except UnicodeDecodeError:
            # What ends within a letter is no word.
            search.dropped += mass * end
            word = ""
        if word:
            search.finished[word] = search.finished.get(word, 0.0) + mass * end
        for value, token in zip(row, row_ids, strict=True):
            if value > 0.0:
                search.unfinished[(*tokens, token)] = mass * value


@lru_cache(maxsize=8)
def word_starts(tokenizer: PreTrainedTokenizerBase, size: int, running: bool) -> Tensor:
    """(size,) booleans: which token ids begin a word."""
    return torch.tensor([_starts_word(spelling, running) for spelling in token_bytes(tokenizer, size)])


@lru_cache(maxsize=8)
def bare_starts(tokenizer: PreTrainedTokenizerBase, size: int, running: bool) -> Tensor:
    """(size,) booleans: which token ids begin a word behind a space that is a token of its own."""
    return torch.tensor([_starts_bare(spelling, running) for spelling in token_bytes(tokenizer, size)])
