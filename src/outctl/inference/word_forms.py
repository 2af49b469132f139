"""The surface forms of a word as token sequences behind a prompt, and where a word ends."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from outctl.config.adapters import Forms
from outctl.errors import OutctlError
from outctl.inference.literal_text import encode_around
from outctl.inference.prompts import Prompt, encode
from outctl.inference.token_bytes import begins_letter, bytes_of, first_character
from outctl.tasks.spelling import is_letter

JOINERS = "-'’"
"""Characters that join two parts of one word when a letter or digit follows in the same token: *-like*, *'s*."""
LETTER_JOINERS = "\u2011\u00b7\u2027"
"""Joiners that nothing but a word goes on with: non-breaking hyphen, the middle dot of Catalan, hyphenation point."""
INVISIBLE_JOINERS = "\u200c\u200d\u00ad\u2060"
"""Joiners that cannot be seen: zero-width non-joiner and joiner, soft hyphen, word joiner."""


def surface_forms(word: str, forms: Forms = "all") -> list[str]:
    """What a reader would take for the word as an answer: as it is or capitalised, with or without a leading space.

    Args:
        word: the word.
        forms: `all` of these, those spelt `as_written`, or of the latter the `spaced` one.
    """
    if forms == "spaced":
        return [f" {word}"]
    spellings = dict.fromkeys([word, word[:1].upper() + word[1:]] if forms == "all" else [word])
    return [space + spelling for spelling in spellings for space in ("", " ")]


def form_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    words: Sequence[Sequence[str]],
    forms: Forms = "all",
) -> list[list[list[tuple[int, ...]]]]:
    """Token ids of every surface form of every word, as the tokenizer splits it behind the prompt.

    Args:
        tokenizer: the tokenizer.
        prompts: what the words are answers to.
        words: the words behind each prompt.
        forms: which of them, as in `surface_forms`.

    Returns:
        For each prompt, for each of its words, the distinct token sequences of the word's forms.

    Raises:
        OutctlError: two words of a sample have a form in common, or a form cannot be written behind the prompt.
    """
    spelt = [[(word, form) for word in own for form in surface_forms(word, forms)] for own in words]
    behind = [(prompt, form) for prompt, own in zip(prompts, spelt, strict=True) for _, form in own]
    texts = [prompt.text + form for prompt, form in behind]
    # A word is text, whatever it spells.
    written = [(*prompt.written, (len(prompt.text), len(prompt.text + form))) for prompt, form in behind]
    encoded = iter(encode_around(tokenizer, texts, written))
    result = []
    for prompt, own_words, own_forms in zip(prompts, words, spelt, strict=True):
        by_word: dict[str, list[tuple[int, ...]]] = {word: [] for word in own_words}
        owner: dict[tuple[int, ...], str] = {}
        for word, form in own_forms:
            ids = next(encoded)
            size = len(prompt.tokens)
            # Merging across the boundary would ask for another prompt than the one the model is shown.
            alone = tuple(ids[:size]) != prompt.tokens
            tokens = tuple(encode_around(tokenizer, [form], [[(0, len(form))]])[0] if alone else ids[size:])
            if owner.setdefault(tokens, word) != word:
                raise OutctlError(
                    f"words {owner[tokens]!r} and {word!r} are spelt alike: {form.strip()!r}; use distinct words"
                )
            if tokens not in by_word[word]:
                by_word[word].append(tokens)
        if len(by_word) < len(own_words) or not all(all(tokens) and tokens for tokens in by_word.values()):
            raise OutctlError(f"words {list(own_words)} are not distinct, non-empty words")
        result.append([by_word[word] for word in own_words])
    return result


def continues_word(text: str) -> bool:
    """Whether a token with this text, directly behind a word, makes a longer word of it.

    It does if it begins with a letter, digit, underscore or combining mark; with a joiner (`JOINERS`) and a letter or digit
    after it; with a `LETTER_JOINERS`, unless something else follows it; or with an `INVISIBLE_JOINERS`. A joiner of the
    first kind alone ends the word: it may be a closing quote.
    """
    if not text:
        return False
    first, following = text[0], text[1:2]
    if is_letter(first) or first == "_" or first in INVISIBLE_JOINERS:
        return True
    if first in LETTER_JOINERS:
        return not following or is_letter(following)
    return first in JOINERS and following.isalnum()


@lru_cache(maxsize=8)
def token_texts(tokenizer: PreTrainedTokenizerBase, size: int) -> tuple[str, ...]:
    """What each of the first `size` token ids writes behind other text; empty for special and unused ids."""
    # Decoders of SentencePiece drop a leading space at the start of a text, so every token is decoded behind an anchor.
    anchor = encode(tokenizer, ["a"])[0][-1:]
    skip = set(tokenizer.all_special_ids)
    rows = [[*anchor, token] for token in range(min(size, len(tokenizer)))]
    decoded: Any = tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)
    prefix = len(str(tokenizer.decode(anchor)))
    texts = ["" if token in skip else str(text)[prefix:] for token, text in enumerate(decoded)]
    return (*texts, *("" for _ in range(size - len(texts))))


@lru_cache(maxsize=8)
def token_bytes(tokenizer: PreTrainedTokenizerBase, size: int) -> tuple[bytes, ...]:
    """As `token_texts`, in UTF-8; also of tokens that hold only some bytes of a character."""
    spellings = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    texts = token_texts(tokenizer, size)
    found = [bytes_of(str(token), text) for token, text in zip(spellings, texts, strict=False)]
    return (*found, *(b"" for _ in range(size - len(found))))


@lru_cache(maxsize=8)
def word_continuations(tokenizer: PreTrainedTokenizerBase, size: int) -> Tensor:
    """(size,) booleans: which token ids, directly behind a word, make a longer word of it."""
    return torch.tensor([_continues(spelling) for spelling in token_bytes(tokenizer, size)])


def _continues(spelling: bytes) -> bool:
    """As `continues_word`; first bytes of a letter do too, and bytes that stand only inside of a character behind them."""
    if first_character(spelling):
        return continues_word(spelling.decode("utf-8", errors="ignore"))
    return begins_letter(spelling) or 0x80 <= next(iter(spelling), 0) < 0xC0
