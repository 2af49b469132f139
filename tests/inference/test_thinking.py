"""Think blocks: those that a prompt leaves open, those that a model begins, and the key that helps."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from model_templates import CHATML, DEEPSEEK_R1, FAMILIES, GRANITE, HARMONY, QWEN3, QWEN35
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from outctl.config.models import PromptOptions
from outctl.evaluation.first_tokens import first_tokens_note
from outctl.evaluation.records import Record, TopToken
from outctl.inference.prompts import build_prompts
from outctl.inference.thinking import QUESTION, knows_thinking, open_block, thinking_note
from outctl.models.loading import LoadedModel

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
OPEN = {"QWEN35": "<think>", "DEEPSEEK_R1": "<think>", "GRANITE": "<think>"}


def note(tokenizer: PreTrainedTokenizerFast, model: Any = None, **options: Any) -> str | None:
    given = PromptOptions.model_validate(options)
    return thinking_note(tokenizer, given, build_prompts(tokenizer, [QUESTION], True, given), model)


@pytest.mark.parametrize("family", FAMILIES)
def test_open_blocks_are_found_behind_the_last_turn(family: str, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=FAMILIES[family])
    mention = [{"role": "user", "content": "What is <think>?"}]
    for prompt in build_prompts(tokenizer, [QUESTION, mention], True):  # type: ignore[list-item]
        assert open_block(prompt) == OPEN.get(family)


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (QWEN35, "`template_kwargs: {enable_thinking: false}`"),
        (GRANITE, "`template_kwargs: {thinking: false}`"),
        (DEEPSEEK_R1, r'`prefill: "\n</think>\n\n"`'),
        (CHATML + "[THINK]", r'`prefill: "\n[/THINK]\n\n"`'),
        (CHATML + "<|START_THINKING|>", r'`prefill: "\n<|END_THINKING|>\n\n"`'),
        (CHATML + "<my_reasoning>\n", r'`prefill: "\n</my_reasoning>\n\n"`'),
    ],
)
def test_the_key_that_is_named_closes_the_block(template: str, key: str, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=template)
    said = note(tokenizer)
    assert said is not None
    assert said.endswith(f"set {key}")
    if "template_kwargs" in key:
        assert note(tokenizer, template_kwargs={key.split("{")[1].split(":")[0]: False}) is None
    else:
        assert note(tokenizer, prefill=key.split('"')[1].replace("\\n", "\n")) is None


@pytest.mark.parametrize(
    ("template", "token", "key"),
    [
        (QWEN3, "<think>", "`template_kwargs: {enable_thinking: false}`"),
        (CHATML, "<think>", r'`prefill: "<think>\n\n</think>\n\n"`'),
        (CHATML, "a", None),
    ],
)
def test_what_the_likeliest_answer_begins_with_is_seen(
    template: str, token: str, key: str | None, bigram_model: Callable[[Mapping[str, Any]], LoadedModel]
) -> None:
    # The prompts end in a line break, which the smallest models cannot spell.
    loaded = bigram_model({"<unk>": {"<|endoftext|>" if token == "<think>" else token: 0.7}})
    content = loaded.tokenizer.backend_tokenizer.to_str().replace("<|endoftext|>", "<think>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(content), bos_token="<s>", unk_token="<unk>", chat_template=template
    )
    said = note(tokenizer, loaded.model)
    start = "its likeliest answer begins a think block (<think>), where words are measured; set "
    assert said == (start + key if key else None)


def test_records_tell_how_many_answers_begin_a_block(make_tokenizer: MakeTokenizer) -> None:
    def records(*texts: str) -> list[Any]:
        return [Record.model_construct(top_tokens=[TopToken(text=text, probability=0.9)]) for text in texts]

    tokenizer = make_tokenizer(chat_template=HARMONY)
    assert first_tokens_note(tokenizer, PromptOptions(), records("ark", " atom")) is None
    assert first_tokens_note(tokenizer, PromptOptions(), records("<|channel|>", " atom")) == (
        "1 of 2 answers most likely begin a think block (<|channel|>analysis); "
        'set `prefill: "<|channel|>final<|message|>"`'
    )


def test_models_that_nothing_speaks_of_thinking_are_not_asked(make_tokenizer: MakeTokenizer) -> None:
    assert not knows_thinking(make_tokenizer(), PromptOptions())
    assert knows_thinking(make_tokenizer(chat_template=QWEN3), PromptOptions())
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>"])
    assert knows_thinking(tokenizer, PromptOptions())
