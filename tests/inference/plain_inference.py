"""Slow and simple twins of the package's inference: one sequence a pass, loops over forms, and all short answers."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from outctl.inference.prompts import Prompt
from outctl.models.loading import LoadedModel


def lengthens(text: str) -> bool:
    """Whether a token makes a longer word of the one before it, said in another way than the package says it."""
    joined = re.match(r"\w|[-'’][^\W_]|[\u00ad\u200c\u200d\u2060]|[·‧\u2011](\w|$)", text)
    return bool(joined) or unicodedata.category((text or " ")[0])[0] == "M"


@cache
def lengthening_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> list[bool]:
    """Of each token whether it makes a longer word; those of a part of a character do where most such characters would."""
    special = set(tokenizer.all_special_ids)
    values = {character: byte for byte, character in bytes_to_unicode().items()}
    found = []
    for token, text in enumerate(tokenizer.batch_decode([[token] for token in range(size)])):
        if text[:1] == "\ufffd":
            part = bytes(values[character] for character in tokenizer.convert_ids_to_tokens(token))
            part = re.match(rb"[\xc2-\xff]?[\x80-\xbf]*", part)[0]  # type: ignore[index]
            found.append(part[0] < 0xC0 or shares_of_letters().get(part, 0.0) > 0.6)
        else:
            found.append(token not in special and lengthens(text))
    return found


@cache
def shares_of_letters() -> dict[bytes, float]:
    """Of the first bytes of characters the share that lengthens a word; most of four bytes that begin alike are emoji."""
    printable, letters = Counter[bytes](), Counter[bytes]()
    for character in map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x30000)]):
        if character.isprintable() or lengthens(character):
            spelling = character.encode()
            firsts = [spelling[:count] for count in range(1, len(spelling)) if spelling[:count] != b"\xf0"]
            printable.update(firsts)
            letters.update(firsts if character.isalnum() or unicodedata.category(character)[0] == "M" else [])
    return {first: letters[first] / count for first, count in printable.items()}


def plain_logits(model: Any, tokens: list[int]) -> Tensor:
    """(T, V) logits of one sequence in a pass of its own."""
    logits: Tensor = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    return logits


@cache
def ending_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> list[int]:
    """Tokens behind which a word is over."""
    return [token for token, lengthens in enumerate(lengthening_tokens(tokenizer, size)) if not lengthens]


def plain_log_probability(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, word: str, temperature: float = 1.0
) -> Tensor:
    """Logarithm of the probability that the answer is a word: a pass a form, all logits, products along the form."""
    spellings = {space + spelling for spelling in (word, word[0].upper() + word[1:]) for space in ("", " ")}
    forms = set()
    for spelling in spellings:
        ids = tokenizer(prompt.text + spelling, add_special_tokens=False)["input_ids"]
        forms.add(tuple(ids[len(prompt.tokens) :]))
    total: Any = 0
    for form in forms:
        log_p = (plain_logits(model, [*prompt.tokens, *form]).double() / temperature).log_softmax(-1)
        along: Any = sum(log_p[len(prompt.tokens) - 1 + i, token] for i, token in enumerate(form))
        end = log_p[-1, ending_tokens(tokenizer, log_p.shape[-1])].exp().sum().log()
        total = total + (along + end).exp()
    return total.log()


@dataclass(frozen=True)
class FirstWords:
    """The answers to one prompt, as far as they were gone through.

    Attributes:
        masses: probability that the answer begins with these tokens and that its first word ends behind them.
        unfinished: probability of all other answers, whose first word is longer.
        texts: text of every token.
    """

    masses: dict[tuple[int, ...], float]
    unfinished: float
    texts: list[str]

    def text(self, tokens: tuple[int, ...]) -> str:
        return "".join(self.texts[token] for token in tokens)


@torch.no_grad()
def next_tokens(model: torch.nn.Module, sequences: Tensor) -> Tensor:
    """(R, V) next-token probabilities behind each of R sequences of equal length, in plain passes."""
    passes = [model(input_ids=part, use_cache=False).logits[:, -1].double() for part in sequences.split(4096)]
    return torch.cat(passes).softmax(-1)


def all_answers(loaded: LoadedModel, prompt: Prompt, length: int, least: float = 0.0) -> FirstWords:
    """Go through all first words of at most `length` tokens; beginnings less likely than `least` are left unfinished."""
    texts = [loaded.tokenizer.decode([token]) for token in range(len(loaded.tokenizer))]
    lengthening = torch.tensor(lengthening_tokens(loaded.tokenizer, len(texts)))
    masses: dict[tuple[int, ...], float] = {}
    unfinished = 0.0
    # The first word may begin with any token; what follows must lengthen it.
    prefixes, reached = torch.zeros(1, 0, dtype=torch.long), torch.ones(1, dtype=torch.float64)
    for _ in range(length + 1):
        sequences = torch.cat([torch.tensor([prompt.tokens]).expand(len(prefixes), -1), prefixes], 1)
        probabilities = next_tokens(loaded.model, sequences)
        wanted = lengthening if prefixes.shape[1] else torch.ones_like(lengthening)
        ended = reached * probabilities[:, ~wanted].sum(1)
        masses.update(zip(map(tuple, prefixes.tolist()), ended.tolist(), strict=True))
        going_on = wanted.nonzero()[:, 0]
        reached = (reached[:, None] * probabilities[:, going_on]).flatten()
        prefixes = torch.cat([prefixes.repeat_interleave(len(going_on), 0), going_on.repeat(len(prefixes))[:, None]], 1)
        unfinished += reached[reached < least].sum().item()
        prefixes, reached = prefixes[reached >= least], reached[reached >= least]
    del masses[()]
    return FirstWords(masses, unfinished + reached.sum().item(), texts)
