"""Models that read images and text, asked in text alone: what the workflow computes is what their own plain pass gives."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_inference import plain_log_probability, plain_logits
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError
from outctl.finetune.adapter import adapted_by, add_adapter
from outctl.inference.engine_check import prepare
from outctl.inference.generation import generate
from outctl.inference.prompts import Prompt, build_prompts
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel, load_model
from outctl.models.snapshots import is_whole
from outctl.models.sources.local import LocalSource
from outctl.pipeline.specs import Spec
from outctl.stages.fetch_model import FetchSettings
from outctl.stages.fetch_model import run as fetch_model
from outctl.tasks.samples import Message

TEXT = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8},
    **{
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
    },
}
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"image_size": 28, "patch_size": 14}
THREE_AXES = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
QWEN_TOWER = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4}
QWEN3_TOWER = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 48}
LLAMA4_TOWER = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16, "intermediate_size": 64}
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "qwen2_vl": ({"rope_parameters": THREE_AXES}, QWEN_TOWER, "tree"),
    "qwen3_vl": ({"rope_parameters": THREE_AXES}, QWEN3_TOWER | {"deepstack_visual_indexes": [0]}, "tree"),
    "mistral3": ({"model_type": "mistral"}, TOWER | PATCHES | {"model_type": "pixtral", "head_dim": 8}, "tree"),
    "idefics3": ({"model_type": "llama"}, TOWER | PATCHES, "tree"),
    "llava": (
        {"model_type": "gemma2", "sliding_window": 64},
        TOWER | PATCHES | {"model_type": "siglip_vision_model"},
        "rows",
    ),
    # Has a causal class, which would not take the tensors of the vision tower.
    "llama4": (EXPERTS, TOWER | PATCHES | LLAMA4_TOWER, "tree"),
}
"""What makes them tiny, of text and of the tower, and their engine."""


def fetched(original: Path, target: Path) -> Path:
    """The model prepared as the workflow does it."""
    settings = FetchSettings(source=LocalSource(kind="local", path=str(original))).model_dump(mode="json")
    spec = Spec(stage="fetch-model", settings=settings, upstream={}, code="0" * 64, packages={})
    fetch_model(spec, "mine", target)
    return target


@pytest.fixture(scope="session")
def image_text_dir(
    tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> Callable[[str], Path]:
    """A tiny model of a family, prepared as the workflow does it."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        tokenizer = make_tokenizer()
        text, vision, _ = FAMILIES[family]
        sizes = TEXT | {"vocab_size": len(tokenizer)} | text
        config = AutoConfig.for_model(family, text_config=sizes, vision_config=vision)
        for part in (config, config.text_config):
            part.initializer_range = 0.3
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        model.save_pretrained(folder / "original")
        tokenizer.save_pretrained(folder / "original")
        return fetched(folder / "original", folder / "prepared")

    return make


@cache
def _loaded(directory: Path) -> LoadedModel:
    found = load_model(directory, "float32", chat=True)
    prepare(found)
    return found


def prompts_of(loaded: LoadedModel) -> list[Prompt]:
    contents = ["one word: 70% ark, 30% atom", "70% noah, 30% it, and nothing but that"]
    return build_prompts(loaded.tokenizer, [[Message(role="user", content=content)] for content in contents], chat=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_and_texts_are_those_of_plain_passes(family: str, image_text_dir: Callable[[str], Path]) -> None:
    loaded = _loaded(image_text_dir(family))
    assert type(loaded.model).__name__.endswith("ForConditionalGeneration")
    assert loaded.description["engine"].startswith(FAMILIES[family][2])
    # The model as its makers load it.
    plain = AutoModelForImageTextToText.from_pretrained(image_text_dir(family), dtype=torch.float32).eval()
    prompts, words = prompts_of(loaded), ["ark", "atom", "noah"]
    answers = answer_questions(
        loaded.model, loaded.tokenizer, word_questions(loaded.tokenizer, prompts, [words] * 2), 64
    )
    with torch.no_grad():
        expected = [
            [float(plain_log_probability(plain, loaded.tokenizer, prompt, word)) for word in words]
            for prompt in prompts
        ]
        texts = []
        for prompt in prompts:
            tokens = list(prompt.tokens)
            for _ in range(3):
                tokens.append(int(plain_logits(plain, tokens)[-1].argmax()))
            texts.append(loaded.tokenizer.decode(tokens[len(prompt.tokens) :], skip_special_tokens=True))
    found = torch.tensor([answer.log_probabilities for answer in answers])
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), atol=2e-5, rtol=2e-5)
    assert generate(loaded.model, loaded.tokenizer, prompts, 3) == texts


@pytest.mark.parametrize("family", ["qwen2_vl", "mistral3", "idefics3", "llama4"])
def test_adapters_leave_the_tower_alone(family: str, image_text_dir: Callable[[str], Path]) -> None:
    model = load_model(image_text_dir(family), "float32", chat=True).model
    adapted = adapted_by(add_adapter(model, AdapterRecipe(cases={"given": 1}, steps=1, rank=2)))
    names = (*adapted.modules, *adapted.parameters)
    part = "text_model" if family == "idefics3" else "language_model"
    assert len(names) >= 14
    assert all(f"{part}." in name and ".layers." in name for name in names)


@pytest.mark.slow
def test_a_model_in_four_bits_is_asked_and_read_again_from_its_snapshot(image_text_dir: Callable[[str], Path]) -> None:
    directory = image_text_dir("qwen2_vl")
    found = []
    for _ in range(2):
        loaded = load_model(directory, "nf4", chat=True)
        assert loaded.model.model.language_model.layers[0].self_attn.q_proj.weight.quant_state.quant_type == "nf4"
        prepare(loaded)
        with torch.inference_mode():
            found.append(plain_logits(loaded.model, list(range(5, 40))))
    assert torch.equal(*found)
    (snapshot,) = (directory.parent / ".nf4" / directory.name).glob("*-*")
    assert is_whole(snapshot)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("t5", "models of type 't5' do not generate text by this version of transformers"),
        ("florence2", "models of type 'florence2' read their prompt with an encoder"),
        ("pi0", "models of type 'pi0' do not generate text; choose"),
    ],
)
def test_other_models_are_refused_when_they_are_fetched(
    family: str, message: str, tmp_path: Path, image_text_dir: Callable[[str], Path]
) -> None:
    original = tmp_path / "original"
    original.mkdir()
    for file in (image_text_dir("idefics3").parent / "original").iterdir():
        (original / file.name).symlink_to(file)
    (original / "config.json").unlink()
    AutoConfig.for_model(family).save_pretrained(original)
    with pytest.raises(OutctlError, match=message):
        fetched(original, tmp_path / "prepared")
