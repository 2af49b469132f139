"""From chat messages to token ids: what a model is shown before its next word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from outctl.errors import OutctlError, first_line
from outctl.tasks.samples import Message

PROMPT_DATE = "26 Jul 2024"
"""Templates that write a date get this one: with today's, the same sample would be another question tomorrow."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as text and as tokens; the text never ends in a space, which would belong to the answer's first token."""

    text: str
    tokens: tuple[int, ...]


def _merge_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system turn in front of the first user turn, for chat templates that know no system role."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return list(messages)
    first = Message(role="user", content=f"{messages[0]['content']}\n\n{messages[1]['content']}")
    return [first, *messages[2:]]


def _chat_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    def render(turns: Sequence[Message]) -> str:
        text = tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=True, date_string=PROMPT_DATE
        )
        return str(text)

    if not tokenizer.chat_template:
        raise OutctlError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; set `chat: false` for this model"
        )
    try:
        return render(messages)
    except TemplateError:
        pass
    try:
        return render(_merge_system(messages))
    except (TemplateError, TypeError, ValueError) as error:
        raise OutctlError(
            f"{tokenizer.name_or_path}: the chat template refuses the prompt: {first_line(error)}"
        ) from None


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as plain text for models that were never taught a chat format, open for the next answer."""
    lines = []
    for message in messages:
        match message["role"]:
            case "system":
                lines.append(f"{message['content']}\n\n")
            case "user":
                lines.append(f"Question: {message['content']}\nAnswer:")
            case "assistant":
                lines.append(f" {message['content']}\n\n")
    return "".join(lines)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as it stands: markers in it are read as special tokens, none is added."""
    if not texts:
        return []
    ids: Any = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [list(row) for row in ids]


def leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of the token that this tokenizer puts before every text, None if it puts none."""
    bos = tokenizer.bos_token_id
    if not isinstance(bos, int):
        return None
    ids: Any = tokenizer("a")["input_ids"]
    return bos if ids[0] == bos else None


def build_prompts(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], chat: bool
) -> list[Prompt]:
    """Render and encode conversations whose next turn is the model's.

    Chat models get their own template with the assistant's turn opened, base models a plain transcript. Each prompt
    begins with exactly one BOS token where the tokenizer uses one, whether or not the template writes it too.

    Raises:
        OutctlError: the model is to be asked as a chat model and its tokenizer has no template, or one that refuses.
    """
    texts = [_chat_text(tokenizer, turns) if chat else transcript(turns) for turns in conversations]
    return plain_prompts(tokenizer, texts)


def plain_prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Prompt]:
    """Encode texts as they stand, to be gone on with; each behind exactly one BOS token where the tokenizer uses one."""
    bos = leading_bos(tokenizer)
    if bos is not None:
        mark = str(tokenizer.bos_token)
        texts = [mark + text.removeprefix(mark) for text in texts]
    texts = [text.rstrip(" ") for text in texts]
    return [Prompt(text, tuple(ids)) for text, ids in zip(texts, encode(tokenizer, texts), strict=True)]
