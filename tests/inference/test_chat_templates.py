"""Chat templates of the families that people use: every turn is there, nothing depends on the day, options reach them."""

import datetime
from collections.abc import Callable

import pytest
from model_templates import (
    CHATML,
    DEEPSEEK_R1,
    FAMILIES,
    GEMMA,
    GRANITE,
    HARMONY,
    LLAMA,
    MISTRAL,
    NO_SYSTEM,
    QWEN3,
    QWEN35,
    SMOLLM3,
)
from transformers import PreTrainedTokenizerFast

from outctl.config.models import PromptOptions
from outctl.errors import OutctlError
from outctl.inference.prompts import Prompt, build_prompts
from outctl.tasks.samples import Message

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
SYSTEM = Message(role="system", content="One word.")
QUESTION = Message(role="user", content="Say atom")
EXAMPLE = [Message(role="user", content="Say ark"), Message(role="assistant", content="ark")]
SHAPES = [[QUESTION], [SYSTEM, QUESTION], [*EXAMPLE, QUESTION], [SYSTEM, *EXAMPLE, QUESTION]]


def asked(tokenizer: PreTrainedTokenizerFast, turns: list[Message], chat: bool = True, **options: object) -> Prompt:
    (prompt,) = build_prompts(tokenizer, [turns], chat, PromptOptions.model_validate(options))
    return prompt


def refusal(tokenizer: PreTrainedTokenizerFast, turns: list[Message], **options: object) -> str:
    with pytest.raises(OutctlError) as caught:
        asked(tokenizer, turns, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("turns", SHAPES, ids=["question", "system", "example", "both"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_turn_stands_in_the_prompt_in_its_place(
    family: str, turns: list[Message], make_tokenizer: MakeTokenizer
) -> None:
    prompt = asked(make_tokenizer(chat_template=FAMILIES[family]), turns)
    written = [prompt.text[start:end] for start, end in prompt.written]
    contents = [turn["content"] for turn in turns]
    merged = ["\n\n".join(contents[:2]), *contents[2:]] if turns[0] == SYSTEM else contents
    assert written in (contents, merged)


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (GEMMA, "<start_of_turn>user\nOne word.\n\nSay ark<end_of_turn>\n"),
        (MISTRAL, "[INST] One word.\n\nSay ark[/INST] ark"),
        (NO_SYSTEM, "<|im_start|>user\nOne word.\n\nSay ark<|im_end|>\n"),
    ],
    ids=["refused", "moved", "dropped"],
)
def test_a_system_turn_that_is_not_where_it_was_put_joins_the_first_question(
    template: str, question: str, make_tokenizer: MakeTokenizer
) -> None:
    assert question in asked(make_tokenizer(chat_template=template), [SYSTEM, *EXAMPLE, QUESTION]).text


def test_a_system_turn_of_one_letter_is_not_found_in_what_the_template_writes(make_tokenizer: MakeTokenizer) -> None:
    short = [Message(role="system", content="a"), QUESTION]
    prompt = asked(make_tokenizer(chat_template=NO_SYSTEM), short)
    assert prompt.text.endswith("<|im_start|>user\na\n\nSay atom<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("template", "turns", "lost"),
    [
        (CHATML.replace("in messages", "in messages[-1:]"), [*EXAMPLE, QUESTION], 'the user turn "Say ark"'),
        (DEEPSEEK_R1, [EXAMPLE[0], {"role": "assistant", "content": "a</think>ark"}, QUESTION], "assistant turn"),
        (CHATML.replace("message['content']", "message['content'] | upper"), [QUESTION], 'the user turn "Say atom"'),
        (CHATML.replace("message['content']", "message['content'][:3]"), [QUESTION], 'the user turn "Say atom"'),
        ("{{ messages[-1]['content'] }}{{ messages[0]['content'] }}", [*EXAMPLE, QUESTION], "the assistant turn"),
    ],
    ids=["dropped", "thinking cut", "changed", "truncated", "out of order"],
)
def test_a_prompt_that_loses_a_turn_is_refused(
    template: str, turns: list[Message], lost: str, make_tokenizer: MakeTokenizer
) -> None:
    message = refusal(make_tokenizer(chat_template=template), turns)
    assert "the chat template leaves out, moves or changes" in message
    assert lost in message


@pytest.mark.parametrize(
    "failing",
    [
        *("{{ 1 / 0 }}", "{{ messages[9]['content'] }}", "{{ 'a' + 1 }}", "{{ raise_exception('no') }}", "{% if %}"),
        *("{{ {}.items(1) }}", "{{ messages[0]['content'].format(a) }}{{ none.upper() }}", "{{ range(10**9) | list }}"),
    ],
)
def test_whatever_a_template_raises_is_one_line(failing: str, make_tokenizer: MakeTokenizer) -> None:
    message = refusal(make_tokenizer(chat_template=failing + CHATML), [SYSTEM, QUESTION])
    assert "the chat template refuses the prompt" in message


@pytest.mark.parametrize("template", [LLAMA, HARMONY, GRANITE, SMOLLM3], ids=["Llama", "harmony", "Granite", "SmolLM3"])
def test_no_template_knows_the_day(
    template: str, make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Later":
            raise AssertionError("a template asked for the time")

    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    text = asked(make_tokenizer(chat_template=template), [QUESTION]).text
    assert any(date in text for date in ("26 Jul 2024", "2024-07-26", "July 26, 2024", "26 July 2024"))


def test_the_time_of_day_stands_still_and_a_date_can_be_given(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template="{{ strftime_now('%H:%M:%S.%f') }} " + LLAMA)
    assert "00:00:00.000000 " in asked(tokenizer, [QUESTION]).text
    assert (
        "Today Date: 1 May 2026\n" in asked(tokenizer, [QUESTION], template_kwargs={"date_string": "1 May 2026"}).text
    )


@pytest.mark.parametrize(
    ("template", "kwargs", "expected"),
    [
        (QWEN3, {"enable_thinking": False}, "assistant\n<think>\n\n</think>\n\n"),
        (QWEN35, {"enable_thinking": False}, "assistant\n<think>\n\n</think>\n\n"),
        (QWEN35, {}, "assistant\n<think>\n"),
        (GRANITE, {"thinking": False}, "assistant<|end_of_role|>"),
        (HARMONY, {"reasoning_effort": "low"}, "<|start|>assistant"),
    ],
)
def test_variables_reach_the_template(
    template: str, kwargs: dict[str, object], expected: str, make_tokenizer: MakeTokenizer
) -> None:
    prompt = asked(make_tokenizer(chat_template=template), [QUESTION], template_kwargs=kwargs)
    assert prompt.text.endswith(expected)
    assert ("Reasoning: low" in prompt.text) == ("reasoning_effort" in kwargs)


@pytest.mark.parametrize("chat", [True, False])
def test_prefill_and_system_turn_stand_at_the_ends(chat: bool, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    options = {"prefill": "<|end|>\n", "system": "Be brief."}
    prompt = asked(tokenizer, [QUESTION], chat, **options)
    both = asked(tokenizer, [SYSTEM, QUESTION], chat, **options)
    marker = "<|system|>" if chat else ""
    assert prompt.text.startswith(f"<s>{marker}Be brief.")
    assert both.text.startswith(f"<s>{marker}Be brief.\n\nOne word.")
    assert prompt.text.endswith("<|assistant|><|end|>\n" if chat else "Answer:<|end|>\n")
    # What the registry says is of the format: it is special where it spells a special token.
    assert prompt.tokens[-2] == tokenizer.convert_tokens_to_ids("<|end|>")


def test_of_several_templates_the_default_or_the_named_one_is_taken(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template={"default": CHATML, "rag": "RAG " + CHATML})
    assert asked(tokenizer, [QUESTION]).text.startswith("<s><|im_start|>user")
    assert asked(tokenizer, [QUESTION], template_kwargs={"chat_template": "rag"}).text.startswith("<s>RAG <|im_start|>")
    own = "Q {{ messages[0]['content'] }}"
    assert asked(tokenizer, [QUESTION], template_kwargs={"chat_template": own}).text == "<s>Q Say atom"
    unknown = refusal(tokenizer, [QUESTION], template_kwargs={"chat_template": "tools"})
    assert "its chat templates are default, rag, and none of them is called 'tools'" in unknown
    none = refusal(make_tokenizer(chat_template={"rag": CHATML, "tool_use": CHATML}), [QUESTION])
    assert "are rag, tool_use, and none of them is the default" in none
    assert "`template_kwargs: {chat_template: rag}`" in none


@pytest.mark.parametrize(
    ("opened", "expected"),
    [("<|im_start|>assistant\n", "<|im_start|>assistant\n"), ("ASSISTANT:\n", "ASSISTANT:")],
    ids=["the turn's own", "the file's"],
)
def test_a_last_line_break_is_kept_where_turns_of_the_assistant_begin_with_it(
    opened: str, expected: str, make_tokenizer: MakeTokenizer
) -> None:
    turns = CHATML.partition("{% if add")[0]
    if opened.startswith("ASS"):
        turns = turns.replace("<|im_start|>{{ message['role'] }}\n", "{{ message['role'] | upper }}: ")
    assert asked(make_tokenizer(chat_template=turns + opened), [QUESTION]).text.endswith(expected)


PARTS = CHATML.replace(
    "message['content']",
    "(message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join)",
)
"""As image-text models have it, whose turns are lists of parts."""


@pytest.mark.parametrize("turns", SHAPES, ids=["question", "system", "example", "both"])
def test_templates_of_image_text_models_are_given_lists_of_parts(
    turns: list[Message], make_tokenizer: MakeTokenizer
) -> None:
    assert PARTS != CHATML
    assert asked(make_tokenizer(chat_template=PARTS), turns) == asked(make_tokenizer(chat_template=CHATML), turns)


def test_a_template_that_writes_a_list_as_it_is_stays_refused(make_tokenizer: MakeTokenizer) -> None:
    only_lists = "{{ raise_exception('no text') if messages[0]['content'] is string }}" + CHATML
    assert "refuses the prompt: no text" in refusal(make_tokenizer(chat_template=only_lists), [QUESTION])


def test_marks_of_what_is_generated_change_nothing(make_tokenizer: MakeTokenizer) -> None:
    content = "{{ message['content'] }}"
    marked = "{% generation %}" + content + "{% endgeneration %}"
    template = "{% for message in messages %}<|{{ message['role'] }}|>CONTENT<|end|>{% endfor %}<|assistant|>"
    found, expected = (
        asked(make_tokenizer(chat_template=template.replace("CONTENT", own)), [*EXAMPLE, QUESTION])
        for own in (marked, content)
    )
    assert found == expected


def test_documents_that_a_template_needs_are_given_in_the_registry(make_tokenizer: MakeTokenizer) -> None:
    needing = make_tokenizer(chat_template="{{ documents | length }}" + CHATML)
    assert "refuses the prompt" in refusal(needing, [QUESTION])
    assert asked(needing, [QUESTION], template_kwargs={"documents": []}).text.count("0") == 1


def test_the_name_of_a_template_is_not_taken_for_one(make_tokenizer: MakeTokenizer) -> None:
    message = refusal(make_tokenizer(chat_template=CHATML), [QUESTION], template_kwargs={"chat_template": "rag"})
    assert "it has one chat template and none called 'rag'" in message
