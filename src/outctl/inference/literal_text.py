"""Tokens of texts of which users wrote a part: what spells a special token there is text, and no special token.

The tokens are those that the tokenizer would give if it knew the special tokens of the template alone.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from outctl.errors import OutctlError

Span = tuple[int, int]
"""Where a piece of text stands in a longer one: its first character, and the one behind its last."""
MARK = "\U000f1a5e"
"""A private character: what stands between two of them is a special token of the template."""


@lru_cache(maxsize=8)
def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The added tokens that structure a prompt: all special ones, and others that the tokenizer's templates write.

    Of the latter only those in brackets of some kind: white space and words are ordinary text.
    """
    templates: Any = tokenizer.chat_template or ""
    literals = "\0".join(map(_literals, templates.values() if isinstance(templates, dict) else [templates]))
    special = set(tokenizer.all_special_tokens)
    added = tokenizer.added_tokens_decoder.values()
    return tuple(
        token.content
        for token in added
        if token.content.strip()
        and (token.special or token.content in special or (_bracketed(token.content) and token.content in literals))
    )


def _bracketed(content: str) -> bool:
    return len(content) > 2 and not (content[0].isalnum() or content[-1].isalnum())


def _literals(template: str) -> str:
    """What a template may write beside its variables."""
    try:
        return "\0".join(
            str(value)
            for _, kind, value in jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).lex(template)
            if kind in ("data", "string")
        )
    except jinja2.TemplateError:
        return template


@lru_cache(maxsize=8)
def _pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Finds control tokens in a text, the longest first, as tokenizers do."""
    longest = sorted(control_tokens(tokenizer), key=len, reverse=True)
    if not longest:
        return re.compile("(?!)")
    # Some vocabularies reserve thousands of them; most characters of a text begin none.
    first = "".join(re.escape(character) for character in sorted({content[0] for content in longest}))
    return re.compile(f"(?=[{first}])(?:{'|'.join(map(re.escape, longest))})")


def encode_around(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], written: Iterable[Sequence[Span]]
) -> list[list[int]]:
    """Token ids of each text; special tokens that users spelt are text, the others are read as such, none is added.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        written: of each text the parts that users wrote.

    Raises:
        OutctlError: a user's text spells a special token, and the tokenizer cannot write it as text.
    """
    if not texts:
        return []
    spelt: dict[int, list[Span]] = {}
    pattern = _pattern(tokenizer)
    for number, (text, spans) in enumerate(zip(texts, written, strict=True)):
        found = [match.span() for match in pattern.finditer(text)]
        own = [(start, end) for start, end in found if not any(start < last and first < end for first, last in spans)]
        if len(own) < len(found):
            spelt[number] = own
    ordinary = [text for number, text in enumerate(texts) if number not in spelt]
    ids: Any = tokenizer(ordinary, add_special_tokens=False)["input_ids"] if ordinary else []
    rows = iter(ids)
    return [
        _encode_spelt(tokenizer, text, spelt[number]) if number in spelt else list(next(rows))
        for number, text in enumerate(texts)
    ]


def _encode_spelt(tokenizer: PreTrainedTokenizerBase, text: str, own: Sequence[Span]) -> list[int]:
    """Token ids of a text in which only these control tokens are special ones."""
    marked, last = "", 0
    for start, end in own:
        marked += f"{text[last:start]}{MARK}{text[start:end]}{MARK}"
        last = end
    marked += text[last:]
    renamed, original = _renamed(tokenizer)
    ids = [original.get(token, token) for token in renamed.encode(marked, add_special_tokens=False).ids]
    controls = set(tokenizer.convert_tokens_to_ids(list(control_tokens(tokenizer)))) - {tokenizer.unk_token_id}
    known = [text[start:end] for start, end in own if text[start:end] != tokenizer.unk_token]
    if sum(token in controls for token in ids) != len(known):
        raise _no_text(tokenizer, text)
    return ids


def _no_text(tokenizer: PreTrainedTokenizerBase, text: str) -> OutctlError:
    found = next((match[0] for match in _pattern(tokenizer).finditer(text)), "")
    return OutctlError(
        f"{tokenizer.name_or_path}: the text {text[-200:]!r} spells a special token such as {found!r}, "
        "which this tokenizer cannot write as text; use other words"
    )


@lru_cache(maxsize=4)
def _renamed(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokenizer, dict[int, int]]:
    """A copy of the tokenizer whose control tokens are spelt between two marks, and the ids that the copy calls otherwise."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise _no_text(tokenizer, "".join(control_tokens(tokenizer)[:1]))
    names = {content: f"{MARK}{content}{MARK}" for content in control_tokens(tokenizer)}
    content = json.loads(backend.to_str())
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = content["model"]
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", ()))
    spellings = {left + right for left, right in merges}
    # A vocabulary may hold a special token too, and its model would then find it in any text.
    hidden = {name: new for name, new in names.items() if name not in spellings}
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {hidden.get(piece, piece): number for piece, number in vocabulary.items()}
    else:
        model["vocab"] = [[hidden.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    content |= {"post_processor": None, "truncation": None, "padding": None}
    copy = Tokenizer.from_str(json.dumps(content))
    original = {copy.token_to_id(names.get(name, name)): number for name, number in ids.items()}
    return copy, {own: number for own, number in original.items() if own is not None}
