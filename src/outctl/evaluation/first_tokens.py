"""What answers begin with, where it should be a word."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from outctl.config.models import PromptOptions
from outctl.evaluation.records import Record
from outctl.inference.thinking import begins_block, remedy


def first_tokens_note(
    tokenizer: PreTrainedTokenizerBase, options: PromptOptions, records: Sequence[Record]
) -> str | None:
    """One line where the likeliest first token of some answers begins a think block, with the key that mends it."""
    likeliest = [record.top_tokens[0].text.strip() for record in records if record.top_tokens]
    # The channel of gpt-oss is named by the token behind it.
    begun = [begins_block("<|channel|>analysis" if text == "<|channel|>" else text) for text in likeliest]
    blocks = [block for block in begun if block]
    if not blocks:
        return None
    key = remedy(tokenizer, options, blocks[0], is_open=False)
    return f"{len(blocks)} of {len(records)} answers most likely begin a think block ({blocks[0]}); set {key}"
