"""Whether a model's tokenizer can be read, keeps text as it is, and stays within the model's embedding."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from outctl.errors import OutctlError, first_line

PROBE = "Ask for two words: 70 % ark, 30 % atom.\nThe answer is"
"""Text that a tokenizer must give back as it was; one that loses its spaces would measure another question."""
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Special tokens that the program adds or looks for by themselves."""


def check_tokenizer(directory: Path, embedded: int, name: str) -> None:
    """Refuse a tokenizer that would ask another question than the text says.

    Args:
        directory: the model's files.
        embedded: rows of the model's embedding.
        name: the model's name in the registry.

    Raises:
        OutctlError: it cannot be read, loses text, or has tokens beyond the embedding.
    """
    tokenizer = load_tokenizer(directory, name)
    # Decoders of SentencePiece begin with a space of their own, which says nothing about the inside of the text.
    ids = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() != PROBE:
        raise OutctlError(
            f"model {name}: its tokenizer does not give a text back as it was; "
            "this version of transformers reads it wrongly, choose another revision or model"
        )
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= embedded}
    if not beyond:
        return
    asked = set(_rendered(tokenizer))
    if used := sorted(token for token, number in beyond.items() if number in asked or _is_used(token, tokenizer)):
        raise OutctlError(
            f"model {name}: its tokenizer has the token {used[0]!r} with the id {beyond[used[0]]}, and the model embeds "
            f"{embedded} ids (0 to {embedded - 1}); take the tokenizer and the weights of the same revision"
        )


def load_tokenizer(directory: Path, name: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer.

    Raises:
        OutctlError: it cannot be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    # The library in Rust raises nothing more precise, for a file of a later version as for a broken one.
    except Exception as error:
        raise OutctlError(
            f"model {name}: its configuration or tokenizer cannot be loaded by tokenizers {version('tokenizers')} and "
            f"transformers {version('transformers')}: {first_line(error)}"
        ) from None
    return tokenizer


def _is_used(token: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a token can come up: by text, by itself, or in the chat template.

    Others may lie beyond the embedding: text models share tokenizers with those that see images.
    """
    if token not in _special(tokenizer) or token in {getattr(tokenizer, role) for role in NAMED}:
        return True
    return any(token in template for template in _templates(tokenizer.chat_template))


def _rendered(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    """The ids of questions as the chat templates put them."""
    turns = [{"role": role, "content": PROBE} for role in ("system", "user", "assistant", "user")]
    for template in _templates(tokenizer.chat_template):
        for messages in (turns, turns[1:]):
            # A template that cannot put these turns, by whatever its author lets it raise, puts no token into them.
            with suppress(Exception):
                text = tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=True
                )
                yield from tokenizer(text, add_special_tokens=False)["input_ids"]


def _special(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    return {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}


def _templates(found: Any) -> list[str]:
    """The chat templates of a tokenizer: none, one, or several by name."""
    if isinstance(found, dict):
        return [str(template) for template in found.values()]
    return [found] if isinstance(found, str) else []
