"""Chat templates: rendering them at a fixed time, and finding each turn in what they write."""

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from outctl.config.models import PromptOptions
from outctl.errors import OutctlError, first_line
from outctl.inference.literal_text import Span
from outctl.tasks.samples import Message

PROMPT_TIME = datetime.datetime(2024, 7, 26)
"""What every template is given as today: with the real date, the same sample would be another question tomorrow."""
PROMPT_DATE = "26 Jul 2024"
"""The same for templates that are given the date as text."""
OPTIONS = set(PromptOptions.model_fields)
"""The keys that say how a model is asked, of whatever section holds them."""


class Rendered(NamedTuple):
    """A text, and where in it the turns stand that somebody wrote."""

    text: str
    written: tuple[Span, ...]


def chosen_template(tokenizer: PreTrainedTokenizerBase, options: PromptOptions) -> str:
    """The text of the chat template that a model is asked through.

    Raises:
        OutctlError: there is none, or several of which none is the default.
    """
    templates: Any = tokenizer.chat_template
    chosen = str(options.template_kwargs.get("chat_template", ""))
    if isinstance(templates, Mapping) and templates:
        if chosen in templates or (not chosen and "default" in templates):
            return str(templates[chosen or "default"])
        if "{" not in chosen:
            problem = f"none of them is called {chosen!r}" if chosen else "none of them is the default"
            raise OutctlError(
                f"{tokenizer.name_or_path}: its chat templates are {', '.join(sorted(templates))}, and {problem}; name "
                f"one in the registry, as in `template_kwargs: {{chat_template: {min(templates)}}}`"
            )
    elif templates and chosen and "{" not in chosen:
        raise OutctlError(
            f"{tokenizer.name_or_path}: it has one chat template and none called {chosen!r}; take chat_template out of "
            "template_kwargs"
        )
    elif not chosen and not templates:
        raise OutctlError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; set `chat: false` for this model"
        )
    return chosen or str(templates)


def render_turns(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], options: PromptOptions, parts: bool = False
) -> str:
    """What the template makes of a conversation whose next turn is the model's; any error of the template's is passed on.

    Args:
        tokenizer: the model's tokenizer.
        turns: the conversation.
        options: how the model is asked.
        parts: whether a turn is a list of parts of which the text is one, as templates of image-text models have it.
    """
    variables: dict[str, Any] = {"tools": None, "documents": None, "date_string": PROMPT_DATE}
    variables |= {**tokenizer.special_tokens_map, **options.template_kwargs, "strftime_now": PROMPT_TIME.strftime}
    variables.pop("chat_template", None)
    # As transformers renders it, which would not let a function of ours stand in for the clock.
    template = _compile_jinja_template(chosen_template(tokenizer, options))
    messages: list[dict[str, Any]] = [dict(turn) for turn in turns]
    if parts:
        messages = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
    return str(template.render(messages=messages, add_generation_prompt=True, **variables))


@lru_cache(maxsize=256)
def _frame(
    tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...], options: str, parts: bool
) -> tuple[str, ...] | int | None:
    """What a template writes before, between and behind turns of these roles.

    Returns:
        The texts around the turns; or the number of the first turn that is not where it should be; or None where the
        template refuses such turns.
    """
    marks = [f"Turn{number}Zq7xKv2Jw" for number in range(len(roles))]
    turns = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    try:
        rest = render_turns(tokenizer, turns, PromptOptions.model_validate_json(options), parts)  # type: ignore[arg-type]
    except OutctlError:
        raise
    except Exception:  # a template is a program of somebody's, which may fail in any way
        return None
    frame = []
    for number, mark in enumerate(marks):
        before, found, rest = rest.partition(mark)
        if not found:
            return number
        frame.append(before)
    return (*frame, rest)


def _locate(text: str, turns: Sequence[Message], frame: tuple[str, ...] | None) -> tuple[Span, ...] | int:
    """Where each turn stands in a rendered text, one behind the other; or the number of the first that does not."""
    if frame:
        for contents in ([turn["content"] for turn in turns], [turn["content"].strip() for turn in turns]):
            if text == "".join(part for pair in zip(frame, [*contents, ""], strict=True) for part in pair):
                return _spans(frame, contents)
    spans = []
    end = 0
    for number, turn in enumerate(turns):
        content = turn["content"].strip()
        start = text.find(content, end)
        if start < 0:
            return number
        end = start + len(content)
        spans.append((start, end))
    return tuple(spans)


def _spans(frame: Sequence[str], contents: Sequence[str]) -> tuple[Span, ...]:
    spans = []
    end = 0
    for before, content in zip(frame, contents, strict=False):
        spans.append((end + len(before), end + len(before) + len(content)))
        end = spans[-1][1]
    return tuple(spans)


def _try(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], options: PromptOptions, parts: bool
) -> Rendered | str:
    """A conversation through the template with every turn in its place, or what is wrong."""
    try:
        text = render_turns(tokenizer, turns, options, parts)
    except OutctlError:
        raise
    except Exception as error:  # a template is a program of somebody's, which may fail in any way
        return f"the chat template refuses the prompt: {first_line(error)}"
    if parts and "{'type': 'text', " in text:
        return "the chat template writes the list of a turn's parts and not its text"
    frame = _frame(tokenizer, tuple(turn["role"] for turn in turns), options.model_dump_json(include=OPTIONS), parts)
    found = frame if isinstance(frame, int) else _locate(text, turns, frame)
    if isinstance(found, int):
        turn = turns[found]
        shown = json.dumps(turn["content"][:100], ensure_ascii=False)
        return f"the chat template leaves out, moves or changes the {turn['role']} turn {shown}"
    return Rendered(text + _dropped_end(tokenizer, turns, options, parts), found)


def _dropped_end(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], options: PromptOptions, parts: bool
) -> str:
    """The line break at the end of a template where it belongs to the opened turn; Jinja drops it.

    It does if the template writes it behind the same words when it begins an assistant's turn that is there.
    """
    if not chosen_template(tokenizer, options).endswith("\n"):
        return ""
    asked, kept = tuple(turn["role"] for turn in turns), options.model_dump_json(include=OPTIONS)
    opened, answered = (_frame(tokenizer, roles, kept, parts) for roles in (asked, (*asked, "assistant")))
    if not isinstance(opened, tuple) or not isinstance(answered, tuple):
        return ""
    return "\n" if answered[len(asked)] == opened[-1] + "\n" else ""


def merge_system(turns: Sequence[Message]) -> list[Message]:
    """Put the system turn in front of the first user turn, for chat templates that know no system role."""
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":
        return list(turns)
    return [Message(role="user", content=f"{turns[0]['content']}\n\n{turns[1]['content']}"), *turns[2:]]


def chat_text(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], options: PromptOptions) -> Rendered:
    """A conversation through the chat template, with the assistant's turn opened.

    Every turn stands in it, in order. A system turn that the template refuses, drops or moves goes into the first user turn.
    Turns become lists of parts for templates that lose plain ones.

    Raises:
        OutctlError: there is no template, it refuses the conversation, or a turn is missing from what it writes.
    """
    result = _try(tokenizer, turns, options, parts=False)
    merged = merge_system(turns)
    for repaired, parts in ((merged, False), (turns, True), (merged, True)):
        if isinstance(result, str):
            found = _try(tokenizer, repaired, options, parts)
            # What is said of a refusal is said of plain turns.
            result = result if parts and isinstance(found, str) else found
    if isinstance(result, str):
        raise OutctlError(
            f"{tokenizer.name_or_path}: {result}; correct template_kwargs or the case's template, or set `chat: false`"
        )
    return result
