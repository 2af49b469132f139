"""From chat messages to token ids: what a model is shown before its next word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from outctl.config.models import AS_IT_COMES, PromptOptions
from outctl.inference.chat_templates import Rendered, chat_text
from outctl.inference.literal_text import Span, encode_around
from outctl.tasks.samples import Message


@dataclass(frozen=True)
class Prompt:
    """A prompt as text and as tokens; the text never ends in a space, which would belong to the answer's first token.

    Attributes:
        text: the text.
        tokens: its token ids.
        written: where in the text the turns stand, in which nothing is a special token.
    """

    text: str
    tokens: tuple[int, ...]
    written: tuple[Span, ...] = ()


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


def _with_system(turns: Sequence[Message], system: str) -> list[Message]:
    """The turns behind a system turn; where they have one, it stands above that in the same turn."""
    if not system:
        return list(turns)
    own = [turns[0]["content"]] if turns and turns[0]["role"] == "system" else []
    return [Message(role="system", content="\n\n".join([system, *own])), *turns[len(own) :]]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as it stands: markers in it are read as special tokens, none is added."""
    return encode_around(tokenizer, texts, [()] * len(texts))


def leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of the token that this tokenizer puts before every text, None if it puts none."""
    bos = tokenizer.bos_token_id
    if not isinstance(bos, int):
        return None
    ids: Any = tokenizer("a")["input_ids"]
    return bos if ids[0] == bos else None


def build_prompts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Message]],
    chat: bool,
    options: PromptOptions = AS_IT_COMES,
) -> list[Prompt]:
    """Render and encode conversations whose next turn is the model's.

    Chat models get their own template with the assistant's turn opened, base models a plain transcript. Each prompt
    begins with exactly one BOS token where the tokenizer uses one, whether or not the template writes it too. What spells
    a special token in a turn is encoded as text.

    Args:
        tokenizer: the model's tokenizer.
        conversations: the conversations.
        chat: whether the model takes a chat template.
        options: how it is asked, beside its template.

    Raises:
        OutctlError: the model is to be asked as a chat model and its tokenizer has no template, or one that refuses or
            loses a turn.
    """
    rendered = []
    for turns in conversations:
        asked = _with_system(turns, options.system)
        if chat:
            text, written = chat_text(tokenizer, asked, options)
        else:
            text = transcript(asked)
            written = ((0, len(text)),)
        rendered.append(Rendered(text + options.prefill, written))
    return _encoded(tokenizer, rendered)


def plain_prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Prompt]:
    """Encode texts as they stand, to be gone on with; each behind exactly one BOS token where the tokenizer uses one."""
    mark = "" if leading_bos(tokenizer) is None else str(tokenizer.bos_token)
    written = [text.removeprefix(mark) for text in texts]
    return _encoded(tokenizer, [Rendered(text, ((0, len(text)),)) for text in written])


def _encoded(tokenizer: PreTrainedTokenizerBase, rendered: Sequence[Rendered]) -> list[Prompt]:
    """Encode texts behind exactly one BOS token where the tokenizer uses one."""
    mark = "" if leading_bos(tokenizer) is None else str(tokenizer.bos_token)
    texts, spans = [], []
    for text, written in rendered:
        starts_with_mark = text.startswith(mark) and not any(start < len(mark) for start, _ in written)
        before = "" if starts_with_mark else mark
        texts.append((before + text).rstrip(" "))
        ends = len(texts[-1])
        shifted = [(start + len(before), min(end + len(before), ends)) for start, end in written]
        spans.append(tuple((start, end) for start, end in shifted if start < end))
    ids = encode_around(tokenizer, texts, spans)
    return [Prompt(text, tuple(row), own) for text, row, own in zip(texts, ids, spans, strict=True)]
