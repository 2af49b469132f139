"""Retention against plain passes: one sequence at a time, all logits, without caches, masks or filling."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from outctl.errors import OutctlError
from outctl.evaluation.retention import TEXT_BINS, TEXT_TOKENS, RetentionResult, measure_retention
from outctl.inference import passes
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import build_prompts
from outctl.metrics.statistics import mean_interval
from outctl.models.loading import LoadedModel, load_model
from outctl.models.lora import compute_in_input_type
from outctl.tasks.neutral import held_out_texts
from outctl.tasks.samples import Message

TinyModelDir = Callable[..., Path]
ASKED = ("Who was first?", "Say hello", "What is 2 plus 2, and what is it not?", "Why", "Say hello")
PROMPTS = [[Message(role="user", content=text)] for text in ASKED]
TEXTS = {
    "short": "An ark",
    "long": "The atoms of ark and kansas sat there. " * 6,
    "other": "Tomato sauce, an ark's size.",
}


def adapted(directory: Path, seed: int = 1, initial: bool = False, **adapter: Any) -> LoadedModel:
    """A tiny model behind tree attention with an adapter of random weights, or with a fresh one."""
    loaded = load_model(directory, "float32", chat=True)
    choose_engine(loaded.model)
    options = {
        "task_type": "CAUSAL_LM",
        "target_modules": "all-linear",
        "r": 4,
        "lora_alpha": 2,
        "init_lora_weights": initial,
    }

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = peft.get_peft_model(loaded.model, peft.LoraConfig(**options | adapter)).eval()
    compute_in_input_type(model)
    return replace(loaded, model=model)


class Plain:
    """The slow twin: baseline and adapter as two models of their own, the adapter's weights merged into one of them."""

    def __init__(self, loaded: LoadedModel, directory: Path) -> None:
        self.tokenizer = loaded.tokenizer
        self.baseline = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        merged = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        twin = peft.get_peft_model(merged, loaded.model.peft_config["default"])
        twin.load_state_dict(loaded.model.state_dict())
        self.adapter = twin.merge_and_unload().eval()

    @torch.no_grad()
    def log_p(self, tokens: list[int]) -> tuple[Tensor, Tensor]:
        """(T, V) of both in float64."""
        ids = torch.tensor([tokens])
        both = [model(input_ids=ids, use_cache=False).logits[0].double() for model in (self.baseline, self.adapter)]
        return both[0].log_softmax(-1), both[1].log_softmax(-1)

    def answer(self, prompt: tuple[int, ...], length: int, end: int) -> tuple[list[int], list[float]]:
        """The baseline's greedy answer, and KL at each of its positions."""
        tokens: list[int] = []
        divergences = []
        while len(tokens) < length and end not in tokens:
            baseline, adapter = self.log_p([*prompt, *tokens])
            p = baseline[-1].exp()
            divergences.append(float((p * (baseline[-1] - adapter[-1])).sum()))
            tokens.append(int(p.argmax()))
        return tokens, divergences

    def text(self, text: str) -> tuple[list[float], list[float], list[float]]:
        """Log-likelihood of each token of a text under both, and KL there."""
        tokens = self.tokenizer("<s>" + text, add_special_tokens=False)["input_ids"]
        baseline, adapter = self.log_p(tokens[:-1])
        rows = list(enumerate(tokens[1:]))
        divergences = (baseline.exp() * (baseline - adapter)).sum(-1)
        return (
            [float(baseline[row, token]) for row, token in rows],
            [float(adapter[row, token]) for row, token in rows],
            divergences.tolist(),
        )


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def measured(loaded: LoadedModel, **options: Any) -> RetentionResult:
    return measure_retention(loaded, PROMPTS, TEXTS, **{"answer_tokens": 6, "resamples": 200} | options)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma2", "bloom"])
def test_every_number_is_that_of_plain_passes(architecture: str, tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir(architecture))
    plain = Plain(loaded, tiny_model_dir(architecture))
    result = measured(loaded)
    prompts = build_prompts(loaded.tokenizer, PROMPTS, chat=True)
    for found, prompt, asked in zip(result.prompts, prompts, ASKED, strict=True):
        tokens, divergences = plain.answer(prompt.tokens, 6, loaded.tokenizer.eos_token_id)
        assert found.prompt == asked
        assert found.answer == loaded.tokenizer.decode(tokens, skip_special_tokens=True)
        assert found.kl == pytest.approx(divergences, abs=1e-5)
        assert max(divergences) > 0.01
    assert result.kl.value == pytest.approx(average([average(found.kl) for found in result.prompts]), abs=1e-9)
    limit = 512
    for found_text, (name, text) in zip(result.texts, TEXTS.items(), strict=True):
        # The end of a model's positions ends what is read of a text; a sliding window does not.
        baseline, adapter, divergences = (values[:limit] for values in plain.text(text))
        assert (found_text.name, found_text.tokens) == (name, len(baseline))
        assert found_text.log_likelihood_baseline == pytest.approx(average(baseline), abs=1e-5)
        assert found_text.log_likelihood_adapter == pytest.approx(average(adapter), abs=1e-5)
        assert found_text.perplexity_baseline == pytest.approx(math.exp(-average(baseline)), rel=1e-5)
        assert found_text.perplexity_adapter == pytest.approx(math.exp(-average(adapter)), rel=1e-5)
        assert found_text.kl == pytest.approx(average(divergences), abs=1e-5)


@pytest.mark.parametrize("tokens_per_pass", [16, 40, 100_000])
def test_results_do_not_depend_on_how_they_are_cut_into_passes(
    tokens_per_pass: int, tiny_model_dir: TinyModelDir
) -> None:
    loaded = adapted(tiny_model_dir())
    whole, cut = measured(loaded), measured(loaded, tokens_per_pass=tokens_per_pass)
    for one, other in zip([*whole.prompts, *whole.texts], [*cut.prompts, *cut.texts], strict=True):
        for key, value in one.model_dump().items():
            assert getattr(other, key) == (
                value if isinstance(value, (str, int)) else pytest.approx(value, rel=1e-5, abs=1e-5)
            )


def test_a_pass_that_does_not_fit_into_memory_is_cut_in_two(
    tiny_model_dir: TinyModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = adapted(tiny_model_dir())
    whole = measured(loaded)
    forward, sizes = type(loaded.model).forward, []

    def short_of_memory(model: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            torch.empty(2**62, dtype=torch.int8)
        return forward(model, **inputs)

    monkeypatch.setattr(type(loaded.model), "forward", short_of_memory)
    found = measured(loaded)
    assert sizes[:2] == [5, 2]
    for one, other in zip(whole.prompts, found.prompts, strict=True):
        assert other.answer == one.answer
        assert other.kl == pytest.approx(one.kl, abs=1e-5)


def test_a_fresh_adapter_has_changed_nothing_at_all(tiny_model_dir: TinyModelDir) -> None:
    result = measured(adapted(tiny_model_dir(), initial=True))
    assert {value for prompt in result.prompts for value in prompt.kl} == {0.0}
    assert result.kl.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert result.log_likelihood_change.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert {text.kl for text in result.texts} == {0.0}
    assert result.perplexity_adapter == result.perplexity_baseline


def test_without_an_adapter_a_model_is_compared_with_itself_in_one_pass(
    tiny_model_dir: TinyModelDir, tiny_model: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_model()
    passes_made = []
    hook = loaded.model.register_forward_hook(lambda *call: passes_made.append(1))
    result = measured(loaded)
    hook.remove()
    of_adapter = measured(adapted(tiny_model_dir()))
    assert result.kl.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert result.perplexity_adapter == result.perplexity_baseline == of_adapter.perplexity_baseline
    assert [prompt.answer for prompt in result.prompts] == [prompt.answer for prompt in of_adapter.prompts]
    longest = max(len(prompt.kl) for prompt in result.prompts)
    assert len(passes_made) == longest + sum(-(-text.tokens // 64) for text in result.texts)


def test_measuring_leaves_the_adapter_on(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    ids = torch.tensor([[5, 9, 30]])
    with torch.no_grad():
        before = loaded.model(input_ids=ids).logits
        measured(loaded)
        assert torch.equal(loaded.model(input_ids=ids).logits, before)


def test_perplexity_is_that_of_a_loop_over_the_tokens(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    result = measured(loaded)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32)
    for found, text in zip(result.texts, TEXTS.values(), strict=True):
        tokens = loaded.tokenizer(text)["input_ids"]
        assert tokens[0] == loaded.tokenizer.bos_token_id
        likelihood = 0.0
        for number in range(1, len(tokens)):
            with torch.no_grad():
                logits = base(input_ids=torch.tensor([tokens[:number]])).logits[0, -1].double()
            likelihood += math.log(logits.exp()[tokens[number]] / logits.exp().sum())
        assert found.perplexity_baseline == pytest.approx(math.exp(-likelihood / (len(tokens) - 1)), rel=1e-5)


def test_an_answer_stops_at_its_end_of_text_token(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    plain = Plain(loaded, tiny_model_dir())
    (prompt,) = build_prompts(loaded.tokenizer, PROMPTS[:1], chat=True)
    # Short of the end that this tokenizer has itself, behind the fifth token.
    tokens, divergences = plain.answer(prompt.tokens, 5, loaded.tokenizer.eos_token_id)
    last = max(tokens.index(token) for token in tokens)
    assert last == 4
    # What generation knows as an end, of several or alone, and what the tokenizer does.
    ends: list[tuple[Any, str]] = [([95, tokens[last]], "<|end|>"), (tokens[last], "<|end|>")]
    ends.append((None, loaded.tokenizer.convert_ids_to_tokens(tokens[last])))
    for of_generation, of_tokenizer in ends:
        loaded.model.generation_config.eos_token_id = of_generation
        loaded.tokenizer.eos_token = of_tokenizer
        (found,) = measure_retention(loaded, PROMPTS[:1], {}, answer_tokens=9).prompts
        assert found.kl == pytest.approx(divergences[: last + 1], abs=1e-5)


def test_answers_of_different_lengths_count_where_they_are(tiny_model_dir: TinyModelDir) -> None:
    directory = tiny_model_dir()
    loaded = adapted(directory)
    first = measured(loaded)
    plain = Plain(loaded, directory)
    prompts = build_prompts(loaded.tokenizer, PROMPTS, chat=True)
    # A token that some answers have and others lack now ends them.
    answers = [plain.answer(prompt.tokens, 6, -1)[0] for prompt in prompts]
    end = next(token for answer in answers for token in answer[:-1] if any(token not in other for other in answers))
    loaded.model.generation_config.eos_token_id = end
    lengths = [answer.index(end) + 1 if end in answer else 6 for answer in answers]
    assert len(set(lengths)) > 1
    result = measured(loaded)
    assert [len(found.kl) for found in result.prompts] == lengths
    for position, row in enumerate(result.kl_by_position, 1):
        values = [found.kl[position - 1] for found in result.prompts if len(found.kl) >= position]
        assert (row.position, row.prompts) == (position, len(values))
        assert row.kl.value == pytest.approx(average(values))
    for found, before in zip(result.prompts, first.prompts, strict=True):
        assert found.kl == pytest.approx(before.kl[: len(found.kl)], abs=1e-5)


def test_intervals_are_bootstrapped_over_prompts_and_over_texts(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    result = measured(loaded, confidence=0.9, resamples=300, seed=4)
    of_prompts = [average(found.kl) for found in result.prompts]
    assert tuple(result.kl.model_dump().values()) == pytest.approx(mean_interval(of_prompts, 0.9, 300, 4))
    changes = [found.log_likelihood_adapter - found.log_likelihood_baseline for found in result.texts]
    expected = mean_interval(changes, 0.9, 300, 4)
    assert tuple(result.log_likelihood_change.model_dump().values()) == pytest.approx(expected)
    assert expected.low < expected.value < expected.high
    for row in result.kl_by_position:
        values = [found.kl[row.position - 1] for found in result.prompts if len(found.kl) >= row.position]
        assert tuple(row.kl.model_dump().values()) == pytest.approx(mean_interval(values, 0.9, 300, 4))
    ratio = result.perplexity_adapter.value / result.perplexity_baseline.value
    assert ratio == pytest.approx(math.exp(-result.log_likelihood_change.value))


def test_texts_are_compared_in_ranges_of_positions(tiny_model_dir: TinyModelDir) -> None:
    directory = tiny_model_dir()
    loaded = adapted(directory)
    plain = Plain(loaded, directory)
    result = measured(loaded)
    each = [plain.text(text) for text in TEXTS.values()]
    longest = max(len(divergences) for *_, divergences in each)
    assert [(row.first, row.last) for row in result.text_by_position] == [
        bounds for bounds in TEXT_BINS if bounds[0] <= longest
    ]
    for row in result.text_by_position:
        within = slice(row.first - 1, row.last)
        reaching = [columns for columns in each if len(columns[2]) >= row.first]
        assert row.texts == len(reaching)
        assert row.kl.value == pytest.approx(average([average(kl[within]) for *_, kl in reaching]), abs=1e-5)
        change = average([average(after[within]) - average(before[within]) for before, after, _ in reaching])
        assert row.log_likelihood_change.value == pytest.approx(change, abs=2e-5)
        for found, place in ((row.perplexity_baseline, 0), (row.perplexity_adapter, 1)):
            log_likelihoods = [average(columns[place][within]) for columns in reaching]
            assert found.value == pytest.approx(math.exp(-average(log_likelihoods)), rel=1e-4)
            assert len(reaching) == 1 or found.low < found.value < found.high


def test_the_ranges_of_positions_cover_all_that_is_measured() -> None:
    assert TEXT_BINS[0] == (1, 1)
    assert TEXT_BINS[-1][1] == TEXT_TOKENS
    assert all(first == last + 1 for (_, last), (first, _) in pairwise(TEXT_BINS))


def test_of_a_text_longer_than_the_model_attends_to_the_beginning_is_measured(tiny_model_dir: TinyModelDir) -> None:
    directory = tiny_model_dir()
    loaded = adapted(directory)
    loaded.model.config.max_position_embeddings = 128
    (text,) = measure_retention(loaded, [], {"long": held_out_texts()["essay"]}).texts
    assert text.tokens == 128
    baseline, _, _ = Plain(loaded, directory).text(held_out_texts()["essay"])
    assert text.log_likelihood_baseline == pytest.approx(average(baseline[:128]), abs=1e-5)


def test_logits_of_a_long_text_are_never_there_all_at_once(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    rows = []
    hook = loaded.model.get_output_embeddings().register_forward_hook(
        lambda *call: rows.append(call[2].shape[0] * call[2].shape[1])
    )
    measure_retention(loaded, PROMPTS * 30, {"essay": held_out_texts()["essay"]}, answer_tokens=1)
    hook.remove()
    assert max(rows) == 64


def test_what_is_undefined_is_null(tiny_model_dir: TinyModelDir) -> None:
    loaded = adapted(tiny_model_dir())
    nothing = measure_retention(loaded, [], {})
    assert nothing.kl.value is nothing.perplexity_baseline.value is nothing.log_likelihood_change.value is None
    assert nothing.kl_by_position == nothing.text_by_position == []
    single = measure_retention(loaded, PROMPTS[:1], {"one": TEXTS["long"]}, answer_tokens=2)
    assert single.kl.value is not None
    assert single.kl.low is single.kl.high is single.log_likelihood_change.low is None
    assert RetentionResult.model_validate_json(single.model_dump_json()) == single


@pytest.mark.parametrize("scale", [math.inf, 1e6])
def test_an_adapter_that_broke_the_model_altogether_gives_null_and_no_error(
    tiny_model_dir: TinyModelDir, scale: float
) -> None:
    loaded = adapted(tiny_model_dir(), target_modules=["down_proj"])
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data *= scale
    if scale != math.inf:
        loaded.model.get_output_embeddings().weight.data *= 1e4
    result = measured(loaded)
    assert result.perplexity_adapter.value is None
    assert (result.kl.value is None) == (scale == math.inf)
    RetentionResult.model_validate_json(result.model_dump_json())


def test_a_text_of_which_no_token_can_be_predicted_is_refused(
    tiny_model_dir: TinyModelDir, make_tokenizer: Callable[..., Any]
) -> None:
    loaded = replace(adapted(tiny_model_dir()), tokenizer=make_tokenizer(bos=False))
    with pytest.raises(OutctlError, match="the text 'one' is too short: no token of it follows another"):
        measure_retention(loaded, [], {"one": "a"})
    assert measure_retention(loaded, [], {"two": "an a"}).texts[0].tokens == 2


def test_passes_are_planned_by_the_memory_that_is_free(
    tiny_model_dir: TinyModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = adapted(tiny_model_dir())
    sizes = []
    monkeypatch.setattr(passes, "MOST", {"cpu": 128, "cuda": 128})
    hook = loaded.model.register_forward_pre_hook(
        lambda _, args, inputs: sizes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    measured(loaded, answer_tokens=1)
    hook.remove()
    assert max(rows * length for rows, length in sizes) <= 128
