"""Text: greedy against a plain loop, sampled against the exact distribution."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_inference import plain_logits
from scipy.stats import chisquare
from transformers import PreTrainedTokenizerBase

from outctl.inference.engine_check import choose_engine
from outctl.inference.generation import Continuation, continuations, generate
from outctl.inference.prompts import Prompt, build_prompts
from outctl.models.loading import LoadedModel, load_model
from outctl.models.sources.local import LocalSource
from outctl.pipeline.specs import Spec
from outctl.stages.fetch_model import FetchSettings
from outctl.stages.fetch_model import run as fetch_model
from outctl.tasks.samples import Message

TinyModel = Callable[..., LoadedModel]
BigramModel = Callable[..., LoadedModel]
START = "<|assistant|>"
CONTENTS = ["Say", "Say ark: 70%", "", "A longer question, for the sake of its length.", "m"]


def ask(loaded: LoadedModel, *contents: str) -> list[Prompt]:
    conversations = [[Message(role="user", content=content)] for content in contents]
    return build_prompts(loaded.tokenizer, conversations, chat=True)


@torch.no_grad()
def plain_continuation(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, length: int) -> str:
    tokens: list[int] = []
    while len(tokens) < length and tokenizer.eos_token_id not in tokens:
        tokens.append(int(plain_logits(model, [*prompt.tokens, *tokens])[-1].argmax()))
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def sampled(loaded: LoadedModel, seed: int) -> list[str]:
    return generate(loaded.model, loaded.tokenizer, ask(loaded, "Say") * 20, 5, temperature=1.0, seed=seed)


@pytest.mark.parametrize(
    ("architecture", "batch_size"),
    [
        *((architecture, size) for architecture in ("llama", "qwen2", "mistral") for size in (1, 2, 16)),
        *(
            (architecture, 2)
            for architecture in ("gpt2", "gemma2", "gpt_oss", "bloom", "mamba", "qwen3_5_text", "jamba")
        ),
    ],
)
def test_greedy_is_the_likeliest_token_each_time_in_batches_of_any_size(
    architecture: str, batch_size: int, tiny_model: TinyModel
) -> None:
    loaded = tiny_model(architecture)
    prompts = ask(loaded, *CONTENTS)
    texts = generate(loaded.model, loaded.tokenizer, prompts, max_new_tokens=12, batch_size=batch_size)
    assert texts == [plain_continuation(loaded.model, loaded.tokenizer, prompt, 12) for prompt in prompts]
    assert len(set(texts)) > 1


def test_a_batch_that_does_not_fit_into_memory_is_continued_in_parts(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_model()
    prompts = ask(loaded, *CONTENTS)

    def decided(number: int, text: str) -> bool:
        return len(text) > number

    def continued() -> list[Continuation]:
        return continuations(loaded.model, loaded.tokenizer, prompts, 12, decided=decided)

    expected, batches = continued(), []
    own = loaded.model.generate

    def short_of_memory(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        batches.append(len(input_ids))
        if len(input_ids) > 2:
            torch.empty(2**62, dtype=torch.int8)
        found: torch.Tensor = own(input_ids=input_ids, **options)
        return found

    monkeypatch.setattr(loaded.model, "generate", short_of_memory)
    assert continued() == expected
    assert batches == [5, 2, 3, 1, 2]


@pytest.mark.slow
def test_greedy_of_the_embedded_model_in_a_batch_and_alone(real_model: LoadedModel) -> None:
    prompts = ask(real_model, "Name a colour.", "What is the capital of France? Answer in one word.")
    together = generate(real_model.model, real_model.tokenizer, prompts, max_new_tokens=6)
    alone = [generate(real_model.model, real_model.tokenizer, [prompt], max_new_tokens=6)[0] for prompt in prompts]
    assert together == alone
    assert "Paris" in together[1]


def test_an_answer_ends_where_the_model_ends_it(bigram_model: BigramModel) -> None:
    """An answer that ends early stays as it is while the batch goes on."""
    loaded = bigram_model({START: {"ark": 1.0}, "ark": {"ansas": 1.0}})
    longer = bigram_model({START: {"ark": 1.0}, "ark": {"ark": 1.0}})
    (prompt,) = ask(loaded, "or")
    assert generate(loaded.model, loaded.tokenizer, [prompt], max_new_tokens=10) == ["arkansas"]
    assert generate(longer.model, longer.tokenizer, [prompt], max_new_tokens=3) == ["arkarkark"]
    open_prompt = Prompt("a", (loaded.tokenizer.convert_tokens_to_ids("a"),))
    both = bigram_model({START: {"ark": 1.0}, "ark": {"ansas": 1.0}, "a": {"m": 1.0}, "m": {"m": 1.0}})
    assert generate(both.model, both.tokenizer, [open_prompt, prompt], max_new_tokens=6) == ["mmmmmm", "arkansas"]


def test_a_text_that_is_decided_is_cut_off_there_and_the_others_go_on(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 1.0}, "ark": {"ansas": 1.0}, "a": {"m": 1.0}, "m": {"m": 1.0}})
    open_prompt = Prompt("a", (loaded.tokenizer.convert_tokens_to_ids("a"),))
    prompts = [open_prompt, *ask(loaded, "or"), open_prompt]
    limits = {0: 2, 2: 4}
    for batch_size in (1, 2, 3):
        found = continuations(
            loaded.model,
            loaded.tokenizer,
            prompts,
            max_new_tokens=6,
            batch_size=batch_size,
            decided=lambda number, text: len(text) >= limits.get(number, 100),
        )
        assert found == [Continuation("mm", True), Continuation("arkansas", False), Continuation("mmmm", True)]


def test_nothing_to_continue(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    assert generate(loaded.model, loaded.tokenizer, [], max_new_tokens=3) == []


def test_samples_follow_from_the_seed(tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    first = sampled(loaded, seed=1)
    torch.rand(1)
    assert sampled(loaded, seed=1) == first
    assert sampled(loaded, seed=2) != first
    assert len(set(first)) > 10


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_frequencies_of_the_exact_distribution(temperature: float, tiny_model: TinyModel) -> None:
    loaded = tiny_model()
    (prompt,) = ask(loaded, "Say")
    count = 3000
    texts = generate(loaded.model, loaded.tokenizer, [prompt] * count, 1, temperature, seed=0, batch_size=1000)
    with torch.no_grad():
        exact = (plain_logits(loaded.model, list(prompt.tokens))[-1].double() / temperature).softmax(-1)
    expected: Counter[str] = Counter()
    for token, probability in enumerate(exact.tolist()):
        expected[loaded.tokenizer.decode([token], skip_special_tokens=True)] += count * probability
    rare = [text for text in expected if expected[text] < 5]
    common = [text for text in expected if expected[text] >= 5]
    assert len(common) > 15
    found = Counter(texts)
    observed = np.array([*(found[text] for text in common), sum(found[text] for text in rare)])
    wanted = np.array([*(expected[text] for text in common), sum(expected[text] for text in rare)])
    assert chisquare(observed, wanted).pvalue > 0.001


@pytest.mark.parametrize(
    ("setting", "temperature"),
    [
        ({"repetition_penalty": 1.5}, 0.0),
        ({"no_repeat_ngram_size": 1}, 0.0),
        ({"repetition_penalty": 1.5}, 1.0),
        ({"min_p": 0.5}, 1.0),
        ({"typical_p": 0.5}, 1.0),
    ],
)
def test_settings_that_come_with_a_model_do_not_change_its_answers(
    setting: dict[str, float],
    temperature: float,
    tiny_model: TinyModel,
    tiny_model_dir: Callable[..., Path],
    tmp_path: Path,
) -> None:
    original = shutil.copytree(tiny_model_dir().parent / "original", tmp_path / "original")
    own = json.loads((original / "generation_config.json").read_text()) | setting
    (original / "generation_config.json").write_text(json.dumps(own))
    directory = tmp_path / "model"
    fetch = FetchSettings(source=LocalSource(kind="local", path=str(original))).model_dump(mode="json")
    fetch_model(Spec(stage="fetch-model", settings=fetch, upstream={}, code="0", packages={}), "tiny", directory)
    assert json.loads((directory / "generation_config.json").read_text()) == own
    prompts = ask(tiny_model(), *CONTENTS)
    other = load_model(directory, "float32", chat=True)
    choose_engine(other.model)
    expected, found = (
        generate(loaded.model, loaded.tokenizer, prompts, 12, temperature) for loaded in (tiny_model(), other)
    )
    assert found == expected


@pytest.mark.parametrize("ends", ["<|end|>", ["<|end|>", "<|endoftext|>"], None])
def test_an_answer_is_cut_off_where_the_model_has_not_ended_it(
    ends: str | list[str] | None, bigram_model: BigramModel
) -> None:
    """The end takes a token itself: of two tokens, "arkansas" has no room for it."""
    loaded = bigram_model({START: {"ark": 1.0}, "ark": {"ansas": 1.0}, "a": {"m": 1.0}, "m": {"m": 1.0}})
    loaded.model.generation_config.eos_token_id = ends and loaded.tokenizer.convert_tokens_to_ids(ends)
    (ending,) = ask(loaded, "or")
    endless = Prompt("a", (loaded.tokenizer.convert_tokens_to_ids("a"),))
    found = continuations(loaded.model, loaded.tokenizer, [ending, endless], 3)
    assert found == [Continuation("arkansas", ends is None), Continuation("mmm", True)]
    assert continuations(loaded.model, loaded.tokenizer, [ending], 2) == [Continuation("arkansas", True)]


def test_an_end_whose_id_is_zero_is_an_end(bigram_model: BigramModel) -> None:
    loaded = bigram_model({START: {"ark": 1.0}, "ark": {"<unk>": 1.0}})
    loaded.model.generation_config.eos_token_id = loaded.tokenizer.convert_tokens_to_ids("<unk>")
    assert loaded.model.generation_config.eos_token_id == 0
    assert continuations(loaded.model, loaded.tokenizer, ask(loaded, "or"), 3) == [Continuation("ark", False)]
