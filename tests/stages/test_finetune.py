"""Training, on tiny models of real architectures and on the embedded one in 4 bits."""

import json
import math
import re
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_inference import plain_log_probability
from safetensors.torch import load_file

from command_line import ByHand
from outctl.config.adapters import AdapterRecipe
from outctl.config.plugins import load_plugins, run_plugins
from outctl.config.registries import LOSSES
from outctl.errors import OutctlError
from outctl.evaluation.retention import measure_retention
from outctl.finetune import kl_penalty as kl_penalty_module
from outctl.finetune import trainer as trainer_module
from outctl.finetune import training as train_module
from outctl.finetune.adapter import add_adapter
from outctl.finetune.collation import build_batch, encode_samples
from outctl.finetune.held_out import few_left, split_held_out
from outctl.finetune.kl_penalty import KlPenalty
from outctl.finetune.targets import with_targets
from outctl.finetune.trainer import DistributionTrainer, training_log
from outctl.inference import passes
from outctl.inference.branches import next_token_logits
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import build_prompts
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import answer_questions, word_log_probabilities, word_questions
from outctl.metrics import divergences
from outctl.metrics.divergences import full_kl, kl
from outctl.models.loading import LoadedModel, keep_differentiable, load_model
from outctl.pipeline.specs import Spec
from outctl.stages.finetune import FinetuneSettings
from outctl.stages.finetune import run as train_adapter
from outctl.tasks.cases import draw_samples
from outctl.tasks.kinds.suppression import Suppression
from outctl.tasks.neutral import neutral_prompts
from outctl.tasks.samples import Sample, write_samples
from outctl.tasks.templates import load_template

WORDS = ("ark", "atom", "kan", "sand", "mint", "lime", "rock", "dust", "bell", "corn")


def sample(number: int, words: list[str] | None, share: float, case: str = "given") -> Sample:
    asked = f"{words[0]} {round(100 * share)}, {words[1]}" if words else f"seed {number}"
    return Sample(
        sample_id=f"{case}-{number}",
        case=case,
        messages=[{"role": "user", "content": asked}],
        words=words,
        target=[share, 1 - share],
        tolerance=0.1,
        seed=number,
        max_zipf=None if words else 3.5,
    )


def given_samples(count: int) -> list[Sample]:
    """Pairs of neighbouring words, so that held-out words occur in other samples too."""
    pairs = [[WORDS[number % 10], WORDS[(number + 1) % 10]] for number in range(count)]
    return [sample(number, pair, (number % 9 + 1) / 10) for number, pair in enumerate(pairs)]


def spec_for(cases: dict[str, int], precision: str = "float32", **recipe: Any) -> Spec:
    options = {"steps": 30, "batch_size": 4, "rank": 4, "held_out_samples": 2, "learning_rate": 0.01, "log_every": 5}
    settings = FinetuneSettings.model_validate(
        {
            "model": "tiny",
            "loading": {"chat": True, "precision": precision},
            "adapter": "test",
            "recipe": options | recipe | {"cases": cases},
        }
    )
    return Spec(stage="finetune", settings=settings.model_dump(mode="json"), upstream={}, code="0", packages={})


def train(folder: Path, model: Path, samples: list[Sample], spec: Spec | None = None, name: str = "adapter") -> Path:
    file = folder / "train.jsonl"
    write_samples(file, samples)
    spec = spec or spec_for({"given": len(samples)})
    train_adapter(spec, model, [file], folder / name, folder / "checkpoints" / name)
    return folder / name


def shares_given(model: Path, adapter: Path, samples: list[Sample]) -> list[float]:
    """The first word's share of the mass on both, for each sample."""
    loaded = load_model(model, "float32", True, adapter)
    choose_engine(loaded.model)
    prompts = build_prompts(loaded.tokenizer, [sample.messages for sample in samples], chat=True)
    questions = word_questions(loaded.tokenizer, prompts, [sample.words for sample in samples])
    answers = answer_questions(loaded.model, loaded.tokenizer, questions, 1024)
    return [
        1.0 / (1.0 + math.exp(second - first)) for first, second in (answer.log_probabilities for answer in answers)
    ]


def rows(adapter: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (adapter / "training.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_training_lowers_the_loss_and_writes_a_plain_peft_adapter(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], architecture: str
) -> None:
    adapter = train(tmp_path, tiny_model_dir(architecture), given_samples(24))
    logged = rows(adapter)
    assert [row["step"] for row in logged] == [5, 10, 15, 20, 25, 30]
    assert [row["samples"] for row in logged] == [20, 40, 60, 80, 100, 120]
    assert logged[-1]["loss"] < 0.6 * logged[0]["loss"]
    assert {"held_out_tvd", "held_out_slope", "held_out_mass"} <= set(logged[-1])
    weights = load_file(adapter / "adapter_model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    assert {name.split(".")[-3] for name in weights} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    provenance = json.loads((adapter / "provenance.json").read_text())
    model = json.loads((tiny_model_dir(architecture) / "provenance.json").read_text())
    assert provenance["base_weights_hash"] == model["weights_hash"]
    loaded = load_model(tiny_model_dir(architecture), "float32", True, adapter)
    assert any("lora_B" in name and parameter.abs().sum() > 0 for name, parameter in loaded.model.named_parameters())


def test_shuffled_targets_are_those_of_other_questions_with_as_many_words() -> None:
    pairs = given_samples(9)
    three = [
        pairs[0].model_copy(
            update={"sample_id": f"three-{number}", "words": ["a", "b", "c"], "target": [share, 0.1, 0.9 - share]}
        )
        for number, share in enumerate((0.2, 0.3, 0.4))
    ]
    samples = [*pairs, *three]
    shuffled = with_targets(samples, "shuffled", 0)
    for before, after in zip(samples, shuffled, strict=True):
        # No two of these samples have the same target, so one that is kept is the sample's own.
        assert after.target != before.target
        assert after == before.model_copy(update={"target": after.target})
    assert sorted(sample.target for sample in shuffled) == sorted(sample.target for sample in samples)
    assert with_targets(samples, "shuffled", 0) == shuffled
    assert with_targets(samples, "shuffled", 1) != shuffled


def test_shuffled_limits_stay_limits() -> None:
    shares = given_samples(9)
    limits = [
        sample(number, None, share).model_copy(update={"at_most": True})
        for number, share in enumerate((0.01, 0.02, 0.03), start=20)
    ]
    shuffled = with_targets([*shares, *limits], "shuffled", 0)
    assert sorted(found.target for found in shuffled if found.at_most) == sorted(limit.target for limit in limits)
    assert [found.target for found in shuffled[-3:]] != [limit.target for limit in limits]


@pytest.mark.parametrize(
    "targets", ["asked", *(pytest.param(name, marks=pytest.mark.slow) for name in ("even", "shuffled"))]
)
def test_a_recipe_trains_towards_its_targets_whatever_is_asked(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], targets: str
) -> None:
    samples = given_samples(9)
    kept_back = [sample(9, ["wood", "iron"], 0.5), sample(10, ["salt", "clay"], 0.5)]
    spec = spec_for({"given": 11}, targets=targets, steps=200, batch_size=3, rank=32)
    adapter = train(tmp_path, tiny_model_dir(), [*kept_back, *samples], spec)
    given = shares_given(tiny_model_dir(), adapter, samples)
    distance = {
        towards: max(
            abs(share - sample.target[0])
            for share, sample in zip(
                given, with_targets(samples, towards, spec.settings["recipe"]["seed"]), strict=True
            )
        )
        for towards in ("asked", "even", "shuffled")
    }
    assert distance.pop(targets) < 0.2
    assert min(distance.values()) > 0.35


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_ones(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    model, samples = tiny_model_dir("llama"), given_samples(16)
    specs = {"a": 0, "b": 0, "c": 1}
    content = {}
    for name, seed in specs.items():
        spec = spec_for({"given": 16}, steps=6, seed=seed)
        content[name] = (train(tmp_path, model, samples, spec, name) / "adapter_model.safetensors").read_bytes()
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]


COMPARED = ("adapter_model.safetensors", "adapter_config.json", "training.jsonl")


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_bytes(
    by_hand: Callable[..., ByHand],
) -> None:
    # Several epochs, gathered gradients, dropout and a moving learning rate: all of their states are resumed.
    recipe = {"steps": 150, "dropout": 0.2, "gradient_accumulation_steps": 2, "schedule": "linear", "measure_every": 14}
    experiment = by_hand(recipe)
    command = ("finetune", "tiny", "tuned")
    assert experiment.run(*command, "--output", "whole", "--checkpoints", "elsewhere")[0] == 0
    checkpoints, adapter = experiment.plan.layout.checkpoints(), experiment.plan.layout.adapter("tiny", "tuned")
    for number in (signal.SIGKILL, signal.SIGTERM):
        known = set(checkpoints.glob("*/checkpoint-*/seal.json"))
        process = experiment.start(*command)
        while not set(checkpoints.glob("*/checkpoint-*/seal.json")) - known and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        process.send_signal(number)
        _, error = process.communicate()
        assert not adapter.exists()
        if number == signal.SIGTERM:
            assert process.returncode == 1
            assert re.fullmatch(
                r"(\d+ of 150 steps\n)*"
                r"outctl: asked to stop after \d+ of 150 steps; what is done is kept, and the next start goes on from "
                r"there\n",
                error,
            )
    steps = [int(path.name.split("-")[1]) for path in checkpoints.glob("*/checkpoint-*")]
    assert 20 <= max(steps) < 150
    code, out, error = experiment.run(*command)
    assert code == 0, error
    # The first line of the log is that of the first steps after a checkpoint.
    assert out.count("'loss'") < 75 - min(steps) / 2 + 1
    for name in COMPARED:
        assert (adapter / name).read_bytes() == (experiment.folder / "whole" / name).read_bytes(), name
    assert not list(checkpoints.glob("*/checkpoint-*"))


def test_of_two_trainings_at_once_the_second_waits_and_trains_nothing(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 150})
    checkpoints = experiment.plan.layout.checkpoints()
    first, out = experiment.two_at_once(
        "finetune", "tiny", "tuned", begun=lambda: list(checkpoints.glob("*/checkpoint-*"))
    )
    adapter = experiment.plan.layout.adapter("tiny", "tuned")
    waiting, made = out.splitlines()
    assert waiting.startswith(f"{adapter}: another job works on it; waiting for process {first} on ")
    assert made.startswith(f"{adapter}: finished by another start, taken from ")


def test_what_was_finished_is_taken_over_when_its_output_was_deleted(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 4})
    command = ("finetune", "tiny", "tuned")
    assert experiment.run(*command)[0] == 0
    adapter = experiment.plan.layout.adapter("tiny", "tuned")
    before = {file.name: file.read_bytes() for file in adapter.iterdir()}
    shutil.rmtree(adapter)
    code, out, _ = experiment.run(*command)
    assert code == 0
    assert out.startswith(f"{adapter}: finished by another start, taken from ")
    assert "loss" not in out
    assert {file.name: file.read_bytes() for file in adapter.iterdir()} == before


def test_the_models_own_words_are_trained_by_rank(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    samples = [sample(number, None, 0.75, "own") for number in range(12)]
    spec = spec_for({"own": 12}, steps=20, learning_rate=0.02)
    logged = rows(train(tmp_path, tiny_model_dir("llama"), samples, spec))
    assert logged[-1]["loss"] < 0.6 * logged[0]["loss"]


@pytest.mark.slow
def test_with_fewer_forms_the_loss_is_larger_and_what_is_measured_is_not(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    logged = {
        forms: rows(
            train(
                tmp_path,
                tiny_model_dir("llama"),
                given_samples(12),
                # A learning rate at which nothing is learned, so that both measure the same model.
                spec_for({"given": 12}, steps=1, measure_every=1, learning_rate=1e-12, forms=forms),
                name=forms,
            )
        )[-1]
        for forms in ("all", "as_written", "spaced")
    }
    for fewer, more in (("as_written", "all"), ("spaced", "as_written")):
        assert logged[fewer]["loss"] > logged[more]["loss"] + 0.1
        assert logged[fewer]["held_out_mass"] == pytest.approx(logged[more]["held_out_mass"], rel=1e-6)


def test_of_some_samples_the_first_tokens_are_trained_on(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], tiny_model: Callable[..., LoadedModel]
) -> None:
    loaded = tiny_model()
    # The first two are kept back, and are to share no word with the others.
    kept = [sample(number, ["bell", "corn"], 0.7) for number in range(2)]
    samples = [*kept, *(sample(number, ["ark", WORDS[1 + number % 7]], 0.7) for number in range(2, 14))]
    items = encode_samples(loaded.tokenizer, samples[2:], True, "spaced", whole_words=0.25)
    assert [item.question and item.question.whole for item in items] == [False, False, False, True] * 3
    # First tokens say nothing of a limit, of the second word of an answer, or of what the model is yet to pick.
    limited = samples[2].model_copy(update={"at_most": True})
    phrases = samples[2].model_copy(update={"words": ["ark mint", "lime dust"]})
    others = encode_samples(
        loaded.tokenizer, [limited, phrases, sample(0, None, 0.75)], True, "spaced", whole_words=0.0
    )
    assert [item.question and item.question.whole for item in others] == [True, True, None]
    logged = {}
    for share in (1.0, 0.25):
        # A learning rate at which nothing is learned, so that both measure the same model.
        options = {"forms": "spaced", "whole_words": share}
        spec = spec_for({"given": 14}, steps=1, measure_every=1, learning_rate=1e-12, **options)
        logged[share] = rows(train(tmp_path, tiny_model_dir("llama"), samples, spec, name=f"whole-{share}"))[-1]
    assert logged[0.25]["loss"] < logged[1.0]["loss"] - 0.1
    assert logged[0.25]["held_out_mass"] == pytest.approx(logged[1.0]["held_out_mass"], rel=1e-6)


@pytest.mark.slow
def test_a_model_in_4_bits_is_trained_and_its_weights_stay_as_they_are(tmp_path: Path, real_model_dir: Path) -> None:
    spec = spec_for(
        {"given": 12}, precision="nf4", steps=3, batch_size=2, log_every=1, layers=[28, 29], learning_rate=0.002
    )
    logged = rows(train(tmp_path, real_model_dir, given_samples(12), spec))
    assert logged[-1]["loss"] < logged[0]["loss"]
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"28", "29"}


def gradients(loaded: LoadedModel) -> torch.Tensor:
    """Gradient of the first layer's adapter, behind all the frozen layers above it."""
    choose_engine(loaded.model)
    torch.manual_seed(0)
    adapted = add_adapter(
        loaded.model, AdapterRecipe(cases={"given": 1}, steps=1, layers=[0], target_modules=["q_proj"])
    )
    items = encode_samples(loaded.tokenizer, given_samples(4), chat=True)
    batch = build_batch(adapted, loaded.tokenizer, items)
    logits = next_token_logits(adapted, batch.tree, batch.words.nodes.tolist())
    continuations = word_continuations(loaded.tokenizer, logits.shape[-1])
    kl(word_log_probabilities(logits, batch.words, continuations), batch.target).mean().backward()
    (found,) = [
        weight.grad for name, weight in adapted.named_parameters() if "lora_B" in name and weight.grad is not None
    ]
    return found.flatten()


@pytest.mark.slow
def test_gradients_pass_through_layers_in_4_bits(real_model_dir: Path) -> None:
    quantised = load_model(real_model_dir, "nf4", True)
    keep_differentiable(quantised.model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*autograd kernel.*")
        found = gradients(quantised)
    plain = load_model(real_model_dir, "nf4", True)
    expected = gradients(replace(plain, model=plain.model.dequantize()))
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.98
    assert found.norm() == pytest.approx(expected.norm().item(), rel=0.1)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_a_steps_gradients_are_those_of_a_plain_pass_a_form(
    architecture: str, precision: str, tolerance: float, tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    """The adapter's, behind a batch whose prompts share their beginning and whose forms branch behind them."""
    # Weights so large as those of other tests would round too much in bfloat16 for any two passes to agree.
    loaded = load_model(tiny_model_dir(architecture, initializer_range=0.1), precision, True)
    choose_engine(loaded.model)
    recipe = AdapterRecipe(cases={"given": 8}, steps=1, batch_size=4, rank=4)
    adapted = add_adapter(loaded.model, recipe)
    torch.manual_seed(0)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.05)
    samples = given_samples(4)
    items = encode_samples(loaded.tokenizer, samples, chat=True)
    trainer = DistributionTrainer(adapted, loaded.tokenizer, recipe, items, items, tmp_path)
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.training_step(adapted, {"items": items}).item()
    found = gradients_of(trainer)
    prompts = build_prompts(loaded.tokenizer, [sample.messages for sample in samples], chat=True)
    log_p = torch.stack(
        [
            torch.stack([plain_log_probability(adapted, loaded.tokenizer, prompt, word) for word in sample.words or []])
            for prompt, sample in zip(prompts, samples, strict=True)
        ]
    )
    plain = kl(log_p, torch.tensor([sample.target for sample in samples])).mean()
    plain.backward()
    expected = gradients_of(trainer)
    assert loss == pytest.approx(plain.item(), rel=tolerance)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= tolerance * expected[name].norm(), name


def test_held_out_samples_that_do_not_fit_into_memory_are_measured_in_parts(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_for(tiny_model_dir(), tmp_path)
    whole, measured = trainer.measure_held_out(), []

    def short_of_memory(log_p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        measured.append(len(log_p))
        if len(log_p) > 1:
            torch.empty(2**62, dtype=torch.int8)
        return divergences.tvd(log_p, target)

    monkeypatch.setattr(trainer_module, "tvd", short_of_memory)
    assert trainer.measure_held_out() == pytest.approx(whole, rel=1e-5)
    assert measured == [4, 2, 1, 1, 2, 1, 1]


def test_samples_that_share_a_word_with_those_kept_back_are_not_trained_on() -> None:
    to_train, held_out = split_held_out([given_samples(20)], 2)
    kept = {word for kept_back in held_out for word in kept_back.words or []}
    assert kept == {"ark", "atom", "kan"}
    assert len(held_out) == 2
    assert len(to_train) == 12
    assert not kept & {word for trained in to_train for word in trained.words or []}


def test_what_stands_for_all_other_answers_is_no_word_that_samples_share() -> None:
    case = Suppression(kind="suppression", eval_samples=1)
    samples = list(draw_samples(case, load_template("suppression"), "suppression", "train", 400, 0))
    to_train, held_out = split_held_out([samples], 32)
    named = [{kept.words[0] for kept in part if kept.words} for part in (to_train, held_out)]
    assert not named[0] & named[1]
    assert len(to_train) > 250


def test_the_single_words_of_phrases_are_held_back_too() -> None:
    phrases = [
        sample(number, pair, 0.3, "phrases") for number, pair in enumerate([["old ark", "new atom"], ["sand", "ark"]])
    ]
    to_train, held_out = split_held_out([[*phrases, sample(2, ["kan", "mint"], 0.3, "phrases")]], 1)
    assert [kept.sample_id for kept in (*held_out, *to_train)] == ["phrases-0", "phrases-2"]


def test_a_case_of_which_nothing_is_left_to_train_on_is_named() -> None:
    letters = [sample(number, pair, 0.3, "letters") for number, pair in enumerate([["ark", "kan"]] * 8)]
    with pytest.raises(
        OutctlError, match=r"no sample of letters is left to train on: held_out_samples: 4 keeps back 2 of its 8"
    ):
        split_held_out([given_samples(40), letters], 4)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"layers": [0, 2]}, "layers: 2 is not among the model's layers 0 to 1"),
        ({"target_modules": ["q_proj", "query"]}, "target_modules: the model has no 'query'; its linear layers are"),
    ],
)
def test_a_recipe_that_does_not_fit_the_model_is_refused(
    tiny_model_dir: Callable[..., Path], recipe: dict[str, Any], message: str
) -> None:
    model = load_model(tiny_model_dir("llama"), "float32", True).model
    with pytest.raises(OutctlError, match=message):
        add_adapter(model, AdapterRecipe(cases={"given": 1}, steps=1, **recipe))


def test_too_few_samples_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="holds 4 samples of given, not 10 of given"):
        train(tmp_path, tmp_path / "nowhere", given_samples(4), spec_for({"given": 10}))
    with pytest.raises(OutctlError, match="no sample of given is left to train on"):
        train(tmp_path, tmp_path / "nowhere", given_samples(2), spec_for({"given": 2}))


def test_a_batch_that_cannot_be_filled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="3 samples are left to train on, fewer than batch_size: 4"):
        train(tmp_path, tmp_path / "nowhere", given_samples(10)[:6], spec_for({"given": 6}, held_out_samples=2))
    two = spec_for({"given": 6}, held_out_samples=2, batch_size=2, gradient_accumulation_steps=2)
    message = r"3 samples are left to train on, fewer than the 4 of a step \(batch_size: 2 times gradient_accumulation_steps: 2\)"
    with pytest.raises(OutctlError, match=message):
        train(tmp_path, tmp_path / "nowhere", given_samples(10)[:6], two)


def test_where_most_samples_share_a_word_with_those_kept_back_it_is_said() -> None:
    recipe = AdapterRecipe(cases={"given": 20}, steps=1, batch_size=2, held_out_samples=5)
    assert few_left([given_samples(20)], recipe.model_copy(update={"held_out_samples": 2})) is None
    # Those kept back name six of ten words, so the pairs of the other four are left: two of each.
    said = few_left([given_samples(20)], recipe)
    assert said == (
        "trains on 6 of its 20 samples: 5 are held back, and 9 share a word with those; take a larger vocabulary, or lower "
        "held_out_samples"
    )


@pytest.mark.slow
def test_a_loss_of_a_plugin_is_trained_on(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    text = (
        "from outctl.config.registries import LOSSES\nfrom outctl.metrics.divergences import tvd\n\n\n"
        "@LOSSES.register('half')\ndef half(log_p, target):\n    return 0.5 * tvd(log_p, target)\n"
    )
    run_plugins({"half.py": text})
    specs = [spec_for({"given": 24}, steps=1, log_every=1, checkpoint_every=1, loss=loss) for loss in ("tvd", "half")]
    load_plugins([])
    specs[1] = specs[1].model_copy(update={"plugins": {"half.py": text}})
    whole, half = (rows(train(tmp_path, tiny_model_dir(), given_samples(24), spec, spec.name))[0] for spec in specs)
    load_plugins([])
    assert half["loss"] == pytest.approx(0.5 * whole["loss"])


def test_every_step_has_all_its_accumulated_batches(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thirteen samples an epoch has three steps of four, and leaves one out."""
    batches: list[list[str]] = []

    def watched(model: Any, tokenizer: Any, items: Any) -> Any:
        if len(items) == 2 and model.training:
            batches.append([item.prompt.text for item in items])
        return build_batch(model, tokenizer, items)

    monkeypatch.setattr(trainer_module, "build_batch", watched)
    kept = [sample(number, ["wood", "iron"], 0.5) for number in range(20, 22)]
    samples = [*kept, *given_samples(13)]
    spec = spec_for({"given": 15}, steps=6, batch_size=2, gradient_accumulation_steps=2, log_every=1)
    logged = rows(train(tmp_path, tiny_model_dir("llama"), samples, spec))
    assert [row["samples"] for row in logged] == [4, 8, 12, 16, 20, 24]
    assert len(batches) == 12
    for epoch in (batches[:6], batches[6:]):
        assert len({text for batch in epoch for text in batch}) == 12


def test_accumulated_batches_train_like_one_of_their_size(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    logged = {}
    for size, count in ((4, 1), (2, 2)):
        spec = spec_for({"given": 15}, steps=6, batch_size=size, gradient_accumulation_steps=count, log_every=1)
        logged[size] = rows(train(tmp_path, tiny_model_dir("llama"), given_samples(15), spec, f"of-{size}"))
    for row, other in zip(logged[4], logged[2], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "constant_with_warmup"])
def test_a_constant_learning_rate_is_warmed_up_to(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], schedule: str
) -> None:
    options = {"schedule": schedule, "warmup_steps": 4, "learning_rate": 0.01}
    spec = spec_for({"given": 12}, steps=7, batch_size=2, log_every=1, **options)
    logged = rows(train(tmp_path, tiny_model_dir("llama"), given_samples(12), spec))
    assert [row["learning_rate"] for row in logged] == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_nothing_is_trained_in_float16(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    spec = spec_for({"given": 24}, precision="float16")
    with pytest.raises(OutctlError, match="precision: adapters are not trained in float16, in which small gradients"):
        train(tmp_path, tiny_model_dir("llama"), given_samples(24), spec)


def test_a_batch_that_does_not_fit_into_memory_is_trained_in_parts_to_the_same_weights(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for({"given": 30}, steps=4, batch_size=8, gradient_accumulation_steps=2, log_every=1)
    whole = train(tmp_path, tiny_model_dir("llama"), given_samples(30), spec, "whole")
    passes = []

    def short_of_memory(log_p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """As `kl`, with a backward pass that asks the real allocator for too much once half of it is done."""
        passes.append(len(log_p))
        if len(log_p) > 3:
            log_p.register_hook(lambda gradient: torch.empty(2**62, dtype=torch.int8) if gradient.sum() else gradient)
        return kl(log_p, target)

    monkeypatch.setitem(LOSSES._built_in, "kl", short_of_memory)
    parts = train(tmp_path, tiny_model_dir("llama"), given_samples(30), spec, "parts")
    assert passes[:5] == [8, 4, 2, 2, 4]
    expected, found = (load_file(adapter / "adapter_model.safetensors") for adapter in (whole, parts))
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-3)
    for row, other in zip(rows(parts), rows(whole), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_batch_is_trained_in_as_many_parts_as_memory_needs_to_the_same_weights(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In some the model picks its words, so that nobody knows beforehand how many nodes they take.
    samples = [*given_samples(20), *(sample(number, None, 0.7) for number in range(20, 30))]
    spec = spec_for({"given": 30}, steps=3, batch_size=16, log_every=1)
    parts: list[int] = []

    def watched(model: Any, tokenizer: Any, items: Any) -> Any:
        parts.append(len(items))
        return build_batch(model, tokenizer, items)

    monkeypatch.setattr(trainer_module, "build_batch", watched)
    whole = train(tmp_path, tiny_model_dir("llama"), samples, spec, "whole")
    assert parts.count(16) == 3
    parts.clear()
    monkeypatch.setattr(passes, "SHARE", 1e-9)
    cut = train(tmp_path, tiny_model_dir("llama"), samples, spec, "cut")
    assert max(parts) < 16
    expected, found = (load_file(adapter / "adapter_model.safetensors") for adapter in (whole, cut))
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-3)
    for row, other in zip(rows(cut), rows(whole), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_an_undefined_slope_is_null_in_the_log() -> None:
    history = [{"step": 1, "loss": 2.0, "held_out_slope": float("nan")}, {"step": 2, "train_runtime": 1.0}]
    assert training_log(history, 4) == [{"step": 1, "samples": 4, "loss": 2.0, "held_out_slope": None}]


@pytest.mark.slow
def test_the_retention_term_keeps_the_model_closer_to_its_base(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    directory, samples = tiny_model_dir("llama"), given_samples(24)
    logged, kept = {}, {}
    for weight in (0.0, 1.0):
        spec = spec_for({"given": 24}, retention_weight=weight)
        adapter = train(tmp_path, directory, samples, spec, f"weight-{weight}")
        logged[weight] = rows(adapter)
        loaded = load_model(directory, "float32", True, adapter)
        choose_engine(loaded.model)
        kept[weight] = measure_retention(loaded, neutral_prompts("eval"), {}, answer_tokens=1).kl.value or 0.0
    # None of these prompts was in the term.
    assert 0.0 < kept[1.0] < 0.5 * kept[0.0]
    assert not any("retention_kl" in row for row in logged[0.0])
    assert all(row["retention_kl"] > 0.0 for row in logged[1.0])
    assert logged[1.0][-1]["loss"] < logged[1.0][0]["loss"]


@pytest.mark.slow
def test_without_a_weight_nothing_of_retention_is_computed_and_no_bit_changes(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 6, "dropout": 0.1, "gradient_accumulation_steps": 2, "log_every": 2}
    recipes = {
        "left_out": {},
        "zero": {"retention_weight": 0.0, "retention_prompts": 3},
        "one": {"retention_weight": 1.0},
    }
    content = {}
    for name, recipe in recipes.items():
        with monkeypatch.context() as without:
            if name != "one":
                without.setattr(train_module, "KlPenalty", None)
                without.setattr(train_module, "neutral_prompts", None)
            spec = spec_for({"given": 16}, **options, **recipe)
            adapter = train(tmp_path, tiny_model_dir("llama"), given_samples(16), spec, name)
        content[name] = [(adapter / file).read_bytes() for file in COMPARED]
    assert content["zero"] == content["left_out"] != content["one"]


@pytest.mark.slow
def test_a_training_with_retention_goes_on_from_its_checkpoint_to_the_same_bytes(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seven does not divide the number of prompts, and neither do the steps before the checkpoint make whole rounds.
    recipe = {
        "steps": 24,
        "dropout": 0.2,
        "gradient_accumulation_steps": 2,
        "retention_weight": 0.5,
        "retention_prompts": 7,
    }
    spec = spec_for({"given": 24}, checkpoint_every=10, **recipe)
    model, samples = tiny_model_dir("llama"), given_samples(24)
    whole = train(tmp_path, model, samples, spec, "whole")
    asked, numbers, last = [], KlPenalty.numbers, 13

    def until_cut_off(kl_penalty: KlPenalty, step: int) -> list[int]:
        asked.append(step)
        if step == last:
            raise KeyboardInterrupt
        return numbers(kl_penalty, step)

    monkeypatch.setattr(KlPenalty, "numbers", until_cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, model, samples, spec, "cut")
    last = 24
    cut = train(tmp_path, model, samples, spec, "cut")
    assert asked == [*range(14), *range(10, 24)]
    for name in COMPARED:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_a_training_that_goes_on_with_less_free_memory_ends_in_the_same_bytes(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for({"given": 24}, precision="bfloat16", steps=10, batch_size=8, checkpoint_every=5)
    model, samples = tiny_model_dir("llama"), given_samples(24)
    whole = train(tmp_path, model, samples, spec, "whole")
    step, done = DistributionTrainer.training_step, []

    def until_cut_off(*arguments: Any) -> torch.Tensor:
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(step(*arguments))
        return done[-1]

    with monkeypatch.context() as shorter:
        shorter.setattr(DistributionTrainer, "training_step", until_cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, model, samples, spec, "cut")
    monkeypatch.setattr(passes, "SHARE", 1e-9)
    cut = train(tmp_path, model, samples, spec, "cut")
    for name in COMPARED:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    sizes = [json.loads((adapter / "provenance.json").read_text())["tokens_per_pass"] for adapter in (whole, cut)]
    assert sizes[0] == sizes[1] > passes.LEAST
    assert (train(tmp_path, model, samples, spec, "smaller") / COMPARED[0]).read_bytes() != (
        whole / COMPARED[0]
    ).read_bytes()


def trainer_for(directory: Path, folder: Path, **options: Any) -> DistributionTrainer:
    """A trainer before its first step, whose adapter has random weights; its KL penalty has a weight of 3."""
    loaded = load_model(directory, "float32", True)
    choose_engine(loaded.model)
    options = {"batch_size": 4} | options
    recipe = AdapterRecipe(cases={"given": 8}, steps=9, rank=4, retention_weight=3.0, **options)
    torch.manual_seed(0)
    adapted = add_adapter(loaded.model, recipe)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    prompts = build_prompts(loaded.tokenizer, neutral_prompts("train")[:9], chat=True)
    kl_penalty = KlPenalty(adapted, prompts, recipe.retention_prompts, recipe.seed)
    items = encode_samples(loaded.tokenizer, given_samples(8), chat=True)
    trainer = DistributionTrainer(adapted, loaded.tokenizer, recipe, items[:4], items[4:], folder, kl_penalty)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def gradients_of(trainer: DistributionTrainer) -> dict[str, torch.Tensor]:
    """The adapter's gradients, which are then forgotten."""
    found = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.grad is not None}
    trainer.model.zero_grad()
    return found


def test_the_term_counts_once_a_step_with_its_weight_beside_the_mean_of_the_batches(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    trainer = trainer_for(tiny_model_dir(), tmp_path, batch_size=2, gradient_accumulation_steps=2, retention_prompts=4)
    kl_penalty, items = trainer.kl_penalty, trainer.train_dataset
    assert kl_penalty is not None
    # The third step takes the one prompt that is left of nine.
    trainer.state.global_step = 2
    kl_penalty.divergences(trainer.model, [8]).mean().backward()
    of_term = gradients_of(trainer)
    log_p, batch = trainer.word_log_p(trainer.model, items)
    divergence = kl(log_p, batch.target).mean()
    divergence.backward()
    of_batch = gradients_of(trainer)
    loss = trainer.training_step(trainer.model, {"items": items})
    term = kl_penalty.divergences(trainer.model, [8]).mean().item()
    assert loss.item() == pytest.approx(divergence.item() + 3.0 * term, rel=1e-5)
    for name, gradient in gradients_of(trainer).items():
        torch.testing.assert_close(gradient, of_batch[name] + 3.0 * of_term[name], atol=1e-5, rtol=1e-4)
    assert trainer.penalty_kl == pytest.approx([term], rel=1e-5)
    assert max(gradient.abs().max().item() for gradient in of_term.values()) > 1e-3


def test_a_term_that_does_not_fit_into_memory_is_computed_in_parts_to_the_same_gradients(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_for(tiny_model_dir(), tmp_path, retention_prompts=7)
    losses, found, passes = [], [], []

    def short_of_memory(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
        """As `full_kl`, with a backward pass that asks the real allocator for too much once half of it is done."""
        passes.append(len(log_q))
        if len(log_q) > 4:
            log_q.register_hook(lambda gradient: torch.empty(2**62, dtype=torch.int8) if gradient.sum() else gradient)
        return full_kl(log_p, log_q)

    for divergence in (full_kl, short_of_memory):
        monkeypatch.setattr(kl_penalty_module, "full_kl", divergence)
        losses.append(trainer.training_step(trainer.model, {"items": trainer.train_dataset}).item())
        found.append(gradients_of(trainer))
    assert passes == [7, 3, 4]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert trainer.penalty_kl[0] == pytest.approx(trainer.penalty_kl[1], rel=1e-5)
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_line_of_the_log_has_the_mean_term_of_its_steps(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    spec = {"retention_weight": 0.5, "retention_prompts": 20, "steps": 8}
    model, samples = tiny_model_dir("llama"), given_samples(16)
    each = rows(train(tmp_path, model, samples, spec_for({"given": 16}, log_every=1, **spec), "each"))
    means = rows(train(tmp_path, model, samples, spec_for({"given": 16}, log_every=4, **spec), "means"))
    # A fresh adapter changes nothing.
    assert each[0]["retention_kl"] == 0.0
    for mean, four in zip(means, (each[:4], each[4:]), strict=True):
        assert mean["retention_kl"] == pytest.approx(sum(row["retention_kl"] for row in four) / 4, rel=1e-6)
