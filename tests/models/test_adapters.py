"""Adapters that other programs made: the logits are those of PEFT, and what would do nothing or something else is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from outctl.errors import OutctlError
from outctl.evaluation.deviation import measure_deviation
from outctl.evaluation.retention import measure_retention
from outctl.models.adapter_base import Base, check_base
from outctl.models.adapters import attach
from outctl.models.loading import LoadedModel, load_model

IDS = torch.tensor([[5, 9, 3, 7, 7, 2, 41]])
TinyModelDir = Callable[..., Path]


def made_elsewhere(
    directory: Path, output: Path, new_tokens: int = 0, base: str = "", rows: int | None = None, **options: Any
) -> Path:
    """An adapter as a training elsewhere writes it, all of whose products change something.

    Args:
        directory: the base model.
        output: the adapter's directory.
        new_tokens: tokens that are added to tokenizer and embeddings, both of which are then saved.
        base: the base model that it names.
        rows: size of the embeddings, where it is not that of the tokenizer.
        options: of `LoraConfig`.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if new_tokens:
            tokenizer = AutoTokenizer.from_pretrained(directory)
            tokenizer.add_tokens([f"<|new{number}|>" for number in range(new_tokens)])
            model.resize_token_embeddings(rows or len(tokenizer))
            tokenizer.save_pretrained(output)
        elif rows:
            model.resize_token_embeddings(rows)
        config = LoraConfig(r=4, **({"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | options))
        adapted = get_peft_model(model, config)
        for name, weight in adapted.named_parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, 1.0 if "magnitude" in name else 0.0, 0.3)
        adapted.save_pretrained(output, save_embedding_layers=True if rows or new_tokens else "auto")
    file = output / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))
    return output


def as_peft_answers(directory: Path, adapter: Path, rows: int | None = None) -> torch.Tensor:
    """The logits that PEFT by itself gives."""
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    if rows:
        base.resize_token_embeddings(rows)
    with torch.no_grad():
        found: torch.Tensor = PeftModel.from_pretrained(base, str(adapter)).eval()(input_ids=IDS).logits
    return found


def answers(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = loaded.model(input_ids=IDS).logits
    return found


def edited(adapter: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """The adapter with its tensors changed."""
    file = adapter / "adapter_model.safetensors"
    save_file(edit(load_file(file)), file)
    return adapter


KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA of no task": {"task_type": None},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "LoRA with biases": {"lora_bias": True},
    "whole modules": {"modules_to_save": ["lm_head", "norm"]},
    "whole modules, embeddings among them": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "LoRA of embeddings": {"target_modules": ["embed_tokens", "q_proj", "lm_head"]},
    "single tokens": {"trainable_token_indices": [5, 7]},
    "some layers, several ranks": {"layers_to_transform": [1], "rank_pattern": {"v_proj": 2}},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_logits_are_those_of_peft(tmp_path: Path, tiny_model_dir: TinyModelDir, architecture: str, kind: str) -> None:
    if architecture == "qwen2" and "lm_head" in str(KINDS[kind]):
        pytest.skip("its output projection is its embeddings")
    directory = tiny_model_dir(architecture)
    adapter = made_elsewhere(directory, tmp_path / "adapter", **KINDS[kind])
    loaded = load_model(directory, "float32", True, adapter)
    torch.testing.assert_close(answers(loaded), as_peft_answers(directory, adapter), atol=1e-5, rtol=1e-5)
    untrained = load_model(directory, "float32", True)
    assert (answers(loaded) - answers(untrained)).abs().max() > 1e-2
    assert loaded.separable
    with loaded.model.disable_adapter():
        assert torch.equal(answers(loaded), answers(untrained))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("rows", [None, 128])
def test_a_vocabulary_that_training_resized_comes_with_its_tokenizer(
    tmp_path: Path, tiny_model_dir: TinyModelDir, architecture: str, rows: int | None
) -> None:
    directory = tiny_model_dir(architecture)
    adapter = made_elsewhere(directory, tmp_path / "adapter", new_tokens=3, rows=rows)
    loaded = load_model(directory, "float32", True, adapter)
    before = load_model(directory, "float32", True)
    assert len(loaded.tokenizer) == len(before.tokenizer) + 3
    assert loaded.tokenizer.convert_tokens_to_ids("<|new2|>") == len(before.tokenizer) + 2
    expected = as_peft_answers(directory, adapter, rows or len(loaded.tokenizer))
    torch.testing.assert_close(answers(loaded), expected, atol=1e-5, rtol=1e-5)
    # Its base has other probabilities, whatever is disabled.
    assert not loaded.separable
    with pytest.raises(
        OutctlError, match="retention compares a model with its base, and this adapter replaces weights"
    ):
        measure_retention(loaded, [], {})
    with pytest.raises(OutctlError, match="leave base_model_deviation or the adapter out"):
        measure_deviation(loaded, None, [], "tiny", "elsewhere")


def test_a_vocabulary_that_lost_unused_rows_needs_no_tokenizer(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    base, tokenizer = tmp_path / "base", AutoTokenizer.from_pretrained(tiny_model_dir())
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32).eval()
    model.resize_token_embeddings(128)
    model.save_pretrained(base)
    adapter = made_elsewhere(base, tmp_path / "adapter", rows=100)
    attached = attach(model, tokenizer, adapter)
    assert attached.tokenizer is tokenizer
    with torch.no_grad():
        found = attached.model(input_ids=IDS).logits
    torch.testing.assert_close(found, as_peft_answers(base, adapter, 100), atol=1e-5, rtol=1e-5)


def test_new_tokens_without_a_tokenizer_are_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter", new_tokens=3)
    for file in adapter.glob("*token*"):
        file.unlink()
    with pytest.raises(
        OutctlError, match=r"embeddings have \d+ tokens and the model's \d+; put the tokenizer that it was"
    ):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_new_tokens_without_all_their_rows_are_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter", new_tokens=3)
    edited(adapter, lambda weights: {name: value for name, value in weights.items() if "lm_head" not in name})
    with pytest.raises(OutctlError, match="it lacks lm_head for them"):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_names_that_do_not_fit_the_model_are_named(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name.replace("q_proj", "x_proj"): value for name, value in weights.items()}

    adapter = edited(made_elsewhere(tiny_model_dir(), tmp_path / "adapter"), renamed)
    named = r"no place for base_model\.model\.model\.layers\.0\.self_attn\.x_proj\.lora_A\.weight, .* and 1 more; it was made"
    with pytest.raises(OutctlError, match=named):
        load_model(tiny_model_dir(), "float32", True, adapter)


@pytest.mark.parametrize(
    ("options", "left_out", "message"),
    [
        (
            {},
            "layers.1.self_attn.v_proj.lora_B",
            r"lacks base_model\.model\.model\.layers\.1\.self_attn\.v_proj\.lora_B\.weight$",
        ),
        (
            {"modules_to_save": ["lm_head"]},
            "lm_head",
            r"lacks base_model\.model\.lm_head\.weight, which its adapter_config",
        ),
        ({"use_dora": True}, "layers.0.self_attn.q_proj.lora_magnitude_vector", "lacks .*q_proj.lora_magnitude_vector"),
    ],
)
def test_tensors_that_the_file_lacks_are_named(
    tmp_path: Path, tiny_model_dir: TinyModelDir, options: dict[str, Any], left_out: str, message: str
) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter", **options)
    edited(adapter, lambda weights: {name: value for name, value in weights.items() if left_out not in name})
    with pytest.raises(OutctlError, match=message):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_another_size_is_named(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(num_key_value_heads=1), tmp_path / "adapter")
    message = r"v_proj\.lora_B\.weight is torch\.Size\(\[8, 4\]\) in its file and torch\.Size\(\[16, 4\]\) in the model; it was"
    with pytest.raises(OutctlError, match=message):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_another_architecture_is_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter")
    file = adapter / "adapter_config.json"
    file.write_text(file.read_text().replace("q_proj", "c_attn").replace("v_proj", "c_proj"))
    with pytest.raises(
        OutctlError, match=r"PEFT cannot load it on a model of type 'llama': Target modules .* not found"
    ):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter", modules_to_save=["model.norm"])
    own = load_file(tiny_model_dir() / "model.safetensors")["model.norm.weight"]

    def zero(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: own.clone() if name.endswith("norm.weight") else value * ("lora_B" not in name)
            for name, value in weights.items()
        }

    edited(adapter, zero)
    with pytest.raises(
        OutctlError, match="changes no logit of the model, as an adapter before its first training step"
    ):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_pickled_weights_are_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(OutctlError, match="only pickled weights, which can run code"):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_broken_weights_are_refused_in_one_line(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(OutctlError, match=r"adapter_model\.safetensors: cannot be read: "):
        load_model(tiny_model_dir(), "float32", True, adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "NEWEST"}, "peft_type is 'NEWEST', which this version of PEFT does not know"),
        ({"alora_invocation_tokens": [1, 2]}, "an activated LoRA"),
    ],
)
def test_kinds_that_cannot_be_asked_are_refused(
    tmp_path: Path, tiny_model_dir: TinyModelDir, changes: dict[str, Any], message: str
) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(OutctlError, match=message):
        load_model(tiny_model_dir(), "float32", True, adapter)


def test_learned_prompts_are_refused(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir(), dtype=torch.float32)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(OutctlError, match="adapters of type PROMPT_TUNING add to the prompt"):
        load_model(tiny_model_dir(), "float32", True, tmp_path / "adapter")


OWN = Base("smollm", ("smollm", "prepared", "HuggingFaceTB/SmolLM2-135M-Instruct", "/data/SmolLM2"), "a" * 40, "f" * 64)


@pytest.mark.parametrize(
    "named",
    [
        *(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "huggingfacetb/smollm2-135m-instruct",
            "unsloth/SmolLM2-135M-Instruct",
        ),
        *("unsloth/SmolLM2-135M-Instruct-unsloth-bnb-4bit", "/mnt/models/SmolLM2-135M-Instruct/", "smollm", "", None),
        "/root/.cache/huggingface/hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/12fd25f77366fa6b3b4b768ec3050bf629380bac",
        "resources/models/.nf4/smollm/cpu-0123456789abcdef",
        r"C:\models\smollm2-135m-instruct",
    ],
)
def test_a_base_model_is_known_by_each_of_its_names(tmp_path: Path, named: str | None) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    check_base(tmp_path, OWN)


@pytest.mark.parametrize(
    "named",
    ["HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-360M-Instruct", "smollm/other", "models--a--b/snapshots/c"],
)
def test_another_base_model_takes_force(tmp_path: Path, named: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    with pytest.raises(
        OutctlError, match=r"made for the model '.*', not for smollm; .*`--force` on the command line, `force: true`"
    ):
        check_base(tmp_path, OWN)
    check_base(tmp_path, OWN, force=True)


def test_another_revision_takes_force(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": "b" * 40}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(OutctlError, match=r"made for revision bbbbbbbbbbbb of .*, and smollm is aaaaaaaaaaaa"):
        check_base(tmp_path, OWN)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"revision": "a" * 40}))
    check_base(tmp_path, OWN)


def test_hashed_weights_count_more_than_a_name(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "another/model"}))
    (tmp_path / "provenance.json").write_text(json.dumps({"base_weights_hash": OWN.weights_hash}))
    check_base(tmp_path, OWN)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "smollm"}))
    (tmp_path / "provenance.json").write_text(json.dumps({"base_weights_hash": "0" * 64}))
    with pytest.raises(OutctlError, match="trained on the weights of another model than smollm"):
        check_base(tmp_path, OWN)


def test_force_loads_an_adapter_of_another_model_that_fits(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    directory = tiny_model_dir()
    adapter = made_elsewhere(directory, tmp_path / "adapter", base="another/model")
    with pytest.raises(OutctlError, match="made for the model 'another/model', not for tiny-llama"):
        load_model(directory, "float32", True, adapter)
    loaded = load_model(directory, "float32", True, adapter, force=True)
    torch.testing.assert_close(answers(loaded), as_peft_answers(directory, adapter), atol=1e-5, rtol=1e-5)


def test_a_provenance_of_another_program_is_none(tmp_path: Path, tiny_model_dir: TinyModelDir) -> None:
    adapter = made_elsewhere(tiny_model_dir(), tmp_path / "adapter")
    shutil.copyfile(adapter / "adapter_config.json", adapter / "provenance.json")
    assert load_model(tiny_model_dir(), "float32", True, adapter).separable
