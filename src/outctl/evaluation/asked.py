"""Exactly what a model is asked: the prompt of a sample, and the forms of its words, as text and as tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from outctl.config.models import ModelEntry
from outctl.inference.prompts import Prompt, build_prompts
from outctl.inference.word_forms import form_tokens, token_texts
from outctl.tasks.samples import Sample


def asked_of(directory: Path, entry: ModelEntry, sample: Sample) -> dict[str, Any]:
    """What a prepared model is asked with a sample; its weights are not loaded.

    Args:
        directory: the prepared model.
        entry: its entry in the registry.
        sample: the sample.

    Returns:
        `sample_id`; `text` and `tokens` of the prompt, and of `free`, the question without its limit, where there is one; and
        `forms`, of each word the tokens of each form that counts, none where the model picks the words. A token is an id and
        what it writes behind other text.

    Raises:
        OutctlError: the chat template refuses the question, or two words have a form in common.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    asked = [sample.messages, *([sample.free_messages] if sample.free_messages else [])]
    prompt, *free = build_prompts(tokenizer, asked, entry.chat, entry)
    words = [word for answers in sample.outcomes for word in answers]
    (forms,) = form_tokens(tokenizer, [prompt], [words])
    return {
        "sample_id": sample.sample_id,
        **_shown(tokenizer, prompt),
        **({"free": _shown(tokenizer, free[0])} if free else {}),
        "forms": {word: [_pieces(tokenizer, form) for form in own] for word, own in zip(words, forms, strict=True)},
    }


def _shown(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> dict[str, Any]:
    return {"text": prompt.text, "tokens": _pieces(tokenizer, prompt.tokens)}


def _pieces(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[dict[str, Any]]:
    texts = token_texts(tokenizer, len(tokenizer))
    return [{"id": token, "text": texts[token] or str(tokenizer.convert_ids_to_tokens(token))} for token in tokens]


def as_text(asked: dict[str, Any], tokens: bool) -> str:
    """The same for a terminal; the prompt stands between two lines of its own, as it is."""
    lines = [f"--- {asked['sample_id']} ---", asked["text"], "--- end of the prompt ---"]
    if tokens:
        lines += _token_lines(asked["tokens"])
    if "free" in asked:
        lines += ["--- without the limit ---", asked["free"]["text"], "--- end of the prompt ---"]
        if tokens:
            lines += _token_lines(asked["free"]["tokens"])
    for word, forms in asked["forms"].items():
        lines.append(f"{word}: {', '.join(repr(''.join(piece['text'] for piece in form)) for form in forms)}")
        if tokens:
            lines += [f"  {' '.join(_named(piece) for piece in form)}" for form in forms]
    if not asked["forms"]:
        lines.append("The model picks the words itself.")
    return "\n".join(lines) + "\n"


def _token_lines(pieces: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{piece['id']:>8} {piece['text']!r}" for piece in pieces]


def _named(piece: dict[str, Any]) -> str:
    return f"{piece['id']} {piece['text']!r}"
