"""Think blocks: whether a prompt leaves one open or the model begins one, where its answer should be."""

import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from outctl.config.models import PromptOptions
from outctl.errors import OutctlError
from outctl.inference.chat_templates import chosen_template
from outctl.inference.prompts import Prompt, build_prompts
from outctl.tasks.samples import Message

BLOCKS = {
    **{f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning", "seed:think")},
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    "<unused94>thought": "<unused95>",
    "<|channel|>analysis": "<|channel|>final",
}
"""What begins a think block, and what ends it."""
TAG = re.compile(r"<(?!\|?end)(?P<name>[\w:|-]*(?:think|thought|reason)[\w:|-]*)>", re.IGNORECASE)
"""Other tags that begin one; the same with a slash ends it."""
CLOSED = {"<|channel|>analysis": "<|channel|>final<|message|>"}
"""What stands in an answer for no thinking, where that is no empty block."""
SWITCHES: tuple[tuple[str, Any], ...] = (("enable_thinking", False), ("thinking", False), ("reasoning_effort", "none"))
"""Variables of templates that switch thinking off."""
LONGEST = 8
"""Tokens in which a model has begun a think block if it is about to."""
QUESTION = [Message(role="user", content="Answer with one word: 70 % ark, 30 % atom.")]


def open_block(prompt: Prompt) -> str | None:
    """What begins the think block that a prompt leaves open behind its last turn; None where it leaves none."""
    tail = _tail(prompt)
    blocks = {match[0]: f"</{match['name']}>" for match in TAG.finditer(tail)} | BLOCKS
    opened = {begin: tail.rfind(begin) for begin, end in blocks.items() if tail.rfind(begin) > tail.rfind(end)}
    return max(opened, key=lambda begin: opened[begin]) if opened else None


def _tail(prompt: Prompt) -> str:
    """What stands behind the last turn that somebody wrote."""
    return prompt.text[max((end for _, end in prompt.written), default=0) :]


def _ends_block(prompt: Prompt) -> bool:
    """Whether a prompt holds the end of a think block behind its last turn."""
    return any(end in _tail(prompt) for end in BLOCKS.values())


def knows_thinking(tokenizer: PreTrainedTokenizerBase, options: PromptOptions) -> bool:
    """Whether anything in a tokenizer or its template speaks of think blocks, so that its model may begin one."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    known = "\0".join([*added, chosen_template(tokenizer, options)])
    return any(begin in known for begin in (*BLOCKS, "<|channel|>")) or bool(TAG.search(known))


@torch.inference_mode()
def begun_block(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str | None:
    """What begins a think block as the likeliest answer to a prompt, by plain passes; None where the answer is none."""
    new: list[int] = []
    for _ in range(LONGEST):
        ids = torch.tensor([[*prompt.tokens, *new]], device=model.device)
        new.append(int(model(input_ids=ids, use_cache=False).logits[0, -1].argmax()))
        text = str(tokenizer.decode(new)).lstrip()
        if found := begins_block(text):
            return found
        if text and not any(begin.startswith(text) for begin in BLOCKS):
            return None
    return None


def begins_block(text: str) -> str | None:
    """What begins a think block at the start of an answer, None where it begins with none."""
    match = TAG.match(text)
    return match[0] if match else next((begin for begin in BLOCKS if text.startswith(begin)), None)


def remedy(tokenizer: PreTrainedTokenizerBase, options: PromptOptions, block: str, is_open: bool) -> str:
    """The key of the registry, with its value, that has a model answer outside a think block.

    Args:
        tokenizer: the model's tokenizer.
        options: how the model is asked now.
        block: what begins the block.
        is_open: whether the prompt leaves it open; otherwise the model begins it.
    """
    template = chosen_template(tokenizer, options)
    for name, value in SWITCHES:
        if not re.search(rf"\b{name}\b", template) or name in options.template_kwargs:
            continue
        kwargs = options.template_kwargs | {name: value}
        switched = PromptOptions(template_kwargs=kwargs, prefill=options.prefill, system=options.system)
        try:
            (then,) = build_prompts(tokenizer, [QUESTION], True, switched)
        except OutctlError:
            continue
        if open_block(then) is None and (is_open or _ends_block(then)):
            return f"`template_kwargs: {{{', '.join(f'{key}: {json.dumps(kwargs[key])}' for key in kwargs)}}}`"
    end = BLOCKS.get(block, f"</{block[1:]}")
    prefill = f"\n{end}\n\n" if is_open else CLOSED.get(block, f"{block}\n\n{end}\n\n")
    return f"`prefill: {json.dumps(options.prefill + prefill)}`"


def thinking_note(
    tokenizer: PreTrainedTokenizerBase, options: PromptOptions, prompts: Sequence[Prompt], model: Any = None
) -> str | None:
    """One line where words would be measured in a think block or in place of one, with the key that mends it.

    Args:
        tokenizer: the model's tokenizer.
        options: how the model is asked.
        prompts: some of what it is asked.
        model: the model, if it is loaded, to see what it answers.
    """
    for prompt in prompts:
        if block := open_block(prompt):
            key = remedy(tokenizer, options, block, is_open=True)
            return f"its chat template leaves a think block open ({block}), so words are measured inside it; set {key}"
        if model is not None and (block := begun_block(model, tokenizer, prompt)):
            key = remedy(tokenizer, options, block, is_open=False)
            return f"its likeliest answer begins a think block ({block}), where words are measured; set {key}"
    return None
