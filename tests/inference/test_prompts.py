"""Prompts: BOS, chat templates, transcripts."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from outctl.errors import OutctlError
from outctl.inference.prompts import build_prompts, leading_bos, plain_prompts, transcript
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

TURNS = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
CONVERSATION = [
    Message(role="system", content="One word."),
    Message(role="user", content="Say ark"),
    Message(role="assistant", content="ark"),
    Message(role="user", content="Say atom"),
]
CHAT = "<|system|>One word.<|end|><|user|>Say ark<|end|><|assistant|>ark<|end|><|user|>Say atom<|end|><|assistant|>"
TRANSCRIPT = "One word.\n\nQuestion: Say ark\nAnswer: ark\n\nQuestion: Say atom\nAnswer:"


@pytest.mark.parametrize("template", [TURNS + OPEN, "{{ bos_token }}" + TURNS + OPEN], ids=["silent", "writes BOS"])
def test_one_bos_whether_or_not_the_template_writes_it(template: str, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=template)
    (prompt,) = build_prompts(tokenizer, [CONVERSATION], chat=True)
    assert prompt.text == "<s>" + CHAT
    assert prompt.tokens[0] == tokenizer.bos_token_id
    assert prompt.tokens.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(prompt.tokens) == prompt.text
    assert prompt.tokens[1] == tokenizer.convert_tokens_to_ids("<|system|>")


def test_no_bos_where_the_tokenizer_has_none(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(bos=False)
    chat, base = (build_prompts(tokenizer, [CONVERSATION], chat)[0] for chat in (True, False))
    assert (chat.text, base.text) == (CHAT, TRANSCRIPT)
    assert chat.tokens[0] == tokenizer.convert_tokens_to_ids("<|system|>")
    assert base.tokens[0] == tokenizer.convert_tokens_to_ids("O")


def test_no_bos_where_the_tokenizer_names_one_but_does_not_use_it(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(bos=False)
    tokenizer.bos_token = "<s>"
    assert leading_bos(tokenizer) is None
    assert build_prompts(tokenizer, [CONVERSATION], chat=True)[0].text == CHAT


def test_base_models_get_a_transcript_behind_one_bos(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=None)
    (prompt,) = build_prompts(tokenizer, [CONVERSATION], chat=False)
    assert transcript(CONVERSATION) == TRANSCRIPT
    assert prompt.text == "<s>" + TRANSCRIPT
    assert prompt.tokens.count(tokenizer.bos_token_id) == 1
    assert tokenizer.convert_ids_to_tokens(prompt.tokens)[-2:] == ["r", ":"]


@pytest.mark.parametrize("end", [" ", "  ", "\n "])
def test_no_prompt_ends_in_a_space(end: str, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=TURNS + OPEN + "{{ '" + end.replace("\n", "\\n") + "' }}")
    (prompt,) = build_prompts(tokenizer, [CONVERSATION], chat=True)
    assert prompt.text == "<s>" + CHAT + end.rstrip(" ")
    assert tokenizer.decode(prompt.tokens) == prompt.text


def test_system_turn_joins_the_first_question_where_the_template_refuses_it(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=NO_SYSTEM + TURNS + OPEN)
    (prompt,) = build_prompts(tokenizer, [CONVERSATION], chat=True)
    merged = CHAT.replace("<|system|>One word.<|end|><|user|>Say ark", "<|user|>One word.\n\nSay ark")
    assert prompt.text == "<s>" + merged


def test_several_conversations_are_independent_of_their_company(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    conversations = [CONVERSATION, CONVERSATION[1:2], CONVERSATION[:2]]
    together = build_prompts(tokenizer, conversations, chat=True)
    assert together == [build_prompts(tokenizer, [turns], chat=True)[0] for turns in conversations]
    assert [prompt.text for prompt in together[1:]] == [
        "<s><|user|>Say ark<|end|><|assistant|>",
        "<s><|system|>One word.<|end|><|user|>Say ark<|end|><|assistant|>",
    ]
    assert build_prompts(tokenizer, [], chat=True) == []


def test_asking_a_base_model_as_a_chat_model_is_an_error(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(chat_template=None)
    with pytest.raises(OutctlError, match="the tokenizer has no chat template; set `chat: false`"):
        build_prompts(tokenizer, [CONVERSATION], chat=True)


@pytest.mark.slow
def test_prompt_of_the_embedded_model(real_model: LoadedModel) -> None:
    tokenizer = real_model.tokenizer
    (prompt,) = build_prompts(tokenizer, [CONVERSATION], chat=True)
    turns = [("system", "One word."), ("user", "Say ark"), ("assistant", "ark"), ("user", "Say atom")]
    expected = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    assert prompt.text == expected + "<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.tokens) == prompt.text
    assert prompt.tokens.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 5


def test_a_date_in_a_template_is_always_the_same(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    template = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    template += "Today is {{ date_string }}.{{ messages[0]['content'] }}"
    tokenizer = make_tokenizer(chat_template=template)
    (prompt,) = build_prompts(tokenizer, [[Message(role="user", content="hi")]], chat=True)
    assert prompt.text == "<s>Today is 26 Jul 2024.hi"


@pytest.mark.parametrize("bos", [True, False])
def test_a_plain_text_stands_behind_one_bos_where_there_is_one(bos: bool, make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(bos=bos, chat_template=None)
    mark = "<s>" if bos else ""
    first, second = plain_prompts(tokenizer, ["ark atom ", mark + "om"])
    assert (first.text, second.text) == (f"{mark}ark atom", f"{mark}om")
    assert tokenizer.decode(first.tokens) == first.text
    assert first.tokens.count(tokenizer.convert_tokens_to_ids("<s>")) == bos
