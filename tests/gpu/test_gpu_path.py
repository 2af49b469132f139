"""The GPU path on a real card: loading, exact probabilities, training, stopping, memory that runs out, GPU time."""

import json
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from plain_inference import plain_log_probability
from workspace import Workspace

from command_line import ByHand
from outctl.inference.engine_check import choose_engine
from outctl.inference.prompts import build_prompts
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel, load_model
from outctl.storage.files import read_json, read_jsonl

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

Conversations = list[list[dict[str, str]]]
WORDS = ["ark", "atom"]
QUESTIONS = [
    [{"role": "user", "content": f"Say one word: {share}% ark, {100 - share}% atom"}] for share in (10, 50, 90)
]
FINETUNE = ("finetune", "tiny", "tuned")
EVALUATE = ("evaluate", "tiny", "tuned", "given")


def log_probabilities(loaded: LoadedModel, conversations: Conversations = QUESTIONS) -> list[list[float]]:
    """Log-probability of each word as the answer to each question, on the model's device."""
    choose_engine(loaded.model)
    prompts = build_prompts(loaded.tokenizer, conversations, loaded.chat)
    questions = word_questions(loaded.tokenizer, prompts, [WORDS] * len(prompts))
    return [answer.log_probabilities for answer in answer_questions(loaded.model, loaded.tokenizer, questions)]


def plainly_on_the_processor(directory: Path) -> list[list[float]]:
    """The same in float32 on the CPU, one pass per form."""
    loaded = load_model(directory, "float32", chat=True)
    model = loaded.model.to("cpu")
    prompts = build_prompts(loaded.tokenizer, QUESTIONS, loaded.chat)
    with torch.no_grad():
        return [
            [float(plain_log_probability(model, loaded.tokenizer, prompt, word)) for word in WORDS]
            for prompt in prompts
        ]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_probabilities_of_words_are_those_of_float32_on_the_processor(
    tiny_model_dir: Callable[..., Path], precision: str, tolerance: float
) -> None:
    loaded = load_model(tiny_model_dir(), precision, chat=True)
    assert loaded.model.device.type == "cuda"
    assert loaded.model.dtype == getattr(torch, precision)
    assert loaded.description["device"] == torch.cuda.get_device_name()
    for found, expected in zip(log_probabilities(loaded), plainly_on_the_processor(tiny_model_dir()), strict=True):
        assert [math.exp(value) for value in found] == pytest.approx(
            [math.exp(value) for value in expected], abs=tolerance
        )


def test_a_model_in_4_bits_is_loaded_and_answers_nearly_as_in_float32(real_model_dir: Path) -> None:
    loaded = load_model(real_model_dir, "nf4", chat=True)
    assert loaded.model.device.type == "cuda"
    assert any(type(module).__name__ == "Linear4bit" for module in loaded.model.modules())
    for found, expected in zip(log_probabilities(loaded), plainly_on_the_processor(real_model_dir), strict=True):
        assert [math.exp(value) for value in found] == pytest.approx([math.exp(value) for value in expected], abs=0.2)


@pytest.mark.parametrize("precision", ["bfloat16", "nf4"])
def test_three_training_steps_lower_the_loss(by_hand: Callable[..., ByHand], precision: str) -> None:
    experiment = by_hand({"steps": 3, "log_every": 1, "learning_rate": 0.01}, entry={"precision": precision})
    code, _, error = experiment.run(*FINETUNE)
    assert code == 0, error
    adapter = experiment.plan.layout.adapter("tiny", "tuned")
    losses = [row["loss"] for row in read_jsonl(adapter / "training.jsonl") if "loss" in row]
    assert losses[-1] < losses[0]
    assert read_json(adapter / "provenance.json")["device"] == torch.cuda.get_device_name()


def test_a_training_that_was_asked_to_stop_resumes(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 150})
    process = experiment.start(*FINETUNE)
    checkpoints = experiment.plan.layout.checkpoints()
    while not list(checkpoints.glob("*/checkpoint-*/seal.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 1
    (done,) = re.findall(r"asked to stop after (\d+) of 150 steps", error)
    assert 0 < int(done) < 150
    code, _, error = experiment.run(*FINETUNE)
    assert code == 0, error
    rows = read_jsonl(experiment.plan.layout.adapter("tiny", "tuned") / "training.jsonl")
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == 150


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leaves torch 10 MB beyond what it holds: no tensor of more than 1 MB, for which it would reserve 20 MB at once."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 10 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_passes_that_do_not_fit_into_memory_are_cut(tiny_model_dir: Callable[..., Path]) -> None:
    loaded = load_model(tiny_model_dir(), "float32", chat=True)
    found = log_probabilities(loaded, QUESTIONS * 2000)
    expected = plainly_on_the_processor(tiny_model_dir())
    for number, row in enumerate(found):
        assert row == pytest.approx(expected[number % 3], abs=1e-3)


@pytest.fixture
def on_gpus(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> Workspace:
    """An experiment whose jobs ask for a GPU each."""
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    entry = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": {"one": entry, "two": entry}}))
    config = {
        "models": ["one", "two"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {"given": {"kind": "given_words", "train_samples": 24, "eval_samples": 6}},
        "adapters": {"tuned": {"cases": {"given": 24}, "steps": 3, "batch_size": 4, "held_out_samples": 2}},
    }
    return Workspace(tmp_path, config)


def test_the_report_counts_gpu_time(on_gpus: Workspace) -> None:
    run = on_gpus.snakemake()
    assert run.code == 0, run.output
    text = (on_gpus.results / "report.html").read_text()
    rows = json.loads(re.search(r'id="step-rows">(.*?)</script>', text, re.DOTALL)[1])
    trainings = [row for row in rows if row["stage"] == "finetune"]
    assert [row["device"] for row in trainings] == [torch.cuda.get_device_name()] * 2
    assert all(row["gpu_s"] == row["wall_s"] > 0 for row in trainings)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_jobs_compute_on_two_gpus_at_once(by_hand: Callable[..., ByHand]) -> None:
    experiment = by_hand({"steps": 20})
    first = experiment.start(*FINETUNE, "--output", "first", environment={"CUDA_VISIBLE_DEVICES": "0"})
    second = experiment.start(
        *FINETUNE, "--output", "second", "--checkpoints", "elsewhere", environment={"CUDA_VISIBLE_DEVICES": "1"}
    )
    assert (first.wait(), second.wait()) == (0, 0)
    names = [read_json(experiment.folder / name / "provenance.json")["device"] for name in ("first", "second")]
    assert names == [torch.cuda.get_device_name(number) for number in (0, 1)]
