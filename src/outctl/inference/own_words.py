"""The words that a model itself would answer, likeliest first: its next-token distribution expanded to whole words.

Beginning with the likeliest first tokens, the likeliest unfinished word is extended token by token until no other word
can be likelier than those found. These are then measured exactly, over all their surface forms, as given words are.
"""

from collections.abc import Callable, Iterator, Sequence
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
from outctl.inference.word_forms import form_tokens, token_bytes, word_continuations
from outctl.inference.word_probabilities import (
    WordAnswer,
    answer_below,
    shared_prefix,
    word_questions,
)
from outctl.inference.word_search import WIDTH, Path, WordSearch, fold

ROUNDS = 64
"""Passes of a search at most; where they do not suffice, the words found are not proven to be the likeliest."""
ROUNDS_OF_A_STEP = 6
"""The same in a step of a training, which takes the words that it finds, and before a search is given up."""
FIRST_KEPT, KEPT = 2048, 256
"""First and further tokens of an unfinished word that are kept apart at most."""


class OwnWords(NamedTuple):
    """The likeliest words of one prompt.

    Attributes:
        words: at most as many as were asked for, likeliest first.
        unresolved: probability mass of unfinished words that was not expanded.
        complete: whether no other word can be likelier.
    """

    words: list[str]
    unresolved: float
    complete: bool


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
    prompts: Sequence[Prompt],
    tokens_per_pass: int | None = None,
    count: int = 2,
    running: bool = False,
    rounds: int = ROUNDS,
) -> list[OwnWords]:
    """The `count` likeliest whole words behind each prompt.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        tokenizer: its tokenizer.
        prompts: what the model is shown.
        tokens_per_pass: largest number of tree nodes in a forward pass; as many as fit into memory if None.
        count: how many words to find.
        running: whether the prompts are running text, whose next word stands behind a space and may be a number; a word is then
            measured over all tokens that spell it.
        rounds: passes at most.
    """
    beginning = begin(model, shared_prefix([prompt.tokens for prompt in prompts]))

    def find(part: Sequence[Prompt]) -> list[OwnWords]:
        return _search(_begun(beginning, part), tokenizer, part, count, running, rounds=rounds)

    found: list[OwnWords] = []
    for run in _runs(prompts, tokens_per_pass or tokens_that_fit(model), beginning.tree):
        found += split_on_out_of_memory(run, find)
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
        # The prompts are computed once; the search and the measurement both go on from there.
        begun = _begun(beginning, part)
        found = _search(begun, tokenizer, part, count, temperature=temperature)
        questions = word_questions(tokenizer, part, [own.words for own in found])
        return list(zip(found, answer_below(begun, tokenizer, questions, top, temperature), strict=True))

    for run in _runs(prompts, tokens_per_pass or tokens_that_fit(model), beginning.tree):
        yield from split_on_out_of_memory(run, answer)


def _runs(prompts: Sequence[Prompt], tokens: int, prefix: TokenTree) -> Iterator[Sequence[Prompt]]:
    """Cut prompts into runs of at most so many new nodes, and in no round more unfinished words than that.

    No prompt of a run goes on with another one: where a prompt ends, its tree is still to be computed.
    """
    start = 0
    tree, ends = prefix.copy(), set[int]()
    for index, prompt in enumerate(prompts):
        size = len(tree)
        path = tree.insert(prompt.tokens)
        within = path[-1] < size and path[-1] not in ends
        full = len(tree) - len(prefix) > tokens or (index - start + 1) * WIDTH > tokens
        if index > start and (full or within or not ends.isdisjoint(path[:-1])):
            yield prompts[start:index]
            start = index
            tree, ends = prefix.copy(), set()
            path = tree.insert(prompt.tokens)
        ends.add(path[-1])
    if start < len(prompts):
        yield prompts[start:]


def _begun(beginning: Branches, prompts: Sequence[Prompt]) -> Branches:
    """A tree of all prompts, each without its last token, so that the logits behind it can still be asked for."""
    begun = beginning.copy()
    for prompt in prompts:
        begun.tree.insert(prompt.tokens[:-1])
    begun.compute()
    return begun


def _search(
    begun: Branches,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    count: int,
    running: bool = False,
    temperature: float = 1.0,
    rounds: int = ROUNDS,
) -> list[OwnWords]:
    """The likeliest words behind prompts that are begun in a tree; the tree stays as it is."""
    branches = begun.copy()
    spellings = token_bytes(tokenizer, begun.model.get_input_embeddings().weight.shape[0])
    searches = [
        WordSearch(
            branches.tree.insert(prompt.tokens)[-1],
            count,
            lambda path: _whole_characters(b"".join(spellings[token] for token in path)),
            None if running else _forms_behind(tokenizer, prompt),
        )
        for prompt in prompts
    ]
    proven: dict[int, bool] = {}
    for done in range(1, rounds + 1):
        unsure = [number for number in range(len(searches)) if number not in proven]
        if not unsure:
            break
        _extend(branches, tokenizer, [searches[number] for number in unsure], running, temperature)
        for number in unsure:
            search = searches[number]
            given_up = done >= ROUNDS_OF_A_STEP and search.takes_more_than(rounds - done)
            if (is_proven := search.is_proven()) or search.is_over or given_up:
                proven[number] = is_proven
    return [
        OwnWords(search.likeliest(), search.open_mass, proven.get(number, False))
        for number, search in enumerate(searches)
    ]


def _forms_behind(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Callable[[str], Sequence[Path]]:
    """The tokens of a word's forms behind a prompt, as they are measured."""

    def forms_of(word: str) -> Sequence[Path]:
        ((forms,),) = form_tokens(tokenizer, [prompt], [[word]])
        return forms

    return forms_of


def _whole_characters(spelling: bytes) -> str:
    """The text that bytes begin with."""
    try:
        return spelling.decode()
    except UnicodeDecodeError as error:
        return spelling[: error.start].decode()


def _extend(
    branches: Branches,
    tokenizer: PreTrainedTokenizerBase,
    searches: Sequence[WordSearch],
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
    most = KEPT if all(tokens for _, tokens, _ in chosen) else FIRST_KEPT
    values, ids = allowed.topk(min(most + 1, size))
    sums = allowed.sum(-1).tolist()
    for (search, tokens, mass), end, row, row_ids, total in zip(
        chosen, ends, values.tolist(), ids.tolist(), sums, strict=True
    ):
        if tokens:
            spelling = b"".join(spellings[token] for token in tokens)
            text = _whole_characters(spelling)
            # What ends within a letter is no word.
            search.end(tokens, fold(text) if len(text.encode()) == len(spelling) else "", mass * end)
        least = search.least()
        kept = [(token, mass * value) for token, value in zip(row_ids, row, strict=True) if mass * value > least][:most]
        likeliest = mass * row[len(kept)] if len(kept) < len(row) else 0.0
        rest = max(0.0, mass * total - sum(value for _, value in kept))
        search.extend(tokens, kept, likeliest, rest)


@lru_cache(maxsize=8)
def word_starts(tokenizer: PreTrainedTokenizerBase, size: int, running: bool) -> Tensor:
    """(size,) booleans: which token ids begin a word."""
    return torch.tensor([_starts_word(spelling, running) for spelling in token_bytes(tokenizer, size)])


@lru_cache(maxsize=8)
def bare_starts(tokenizer: PreTrainedTokenizerBase, size: int, running: bool) -> Tensor:
    """(size,) booleans: which token ids begin a word behind a space that is a token of its own."""
    return torch.tensor([_starts_bare(spelling, running) for spelling in token_bytes(tokenizer, size)])
