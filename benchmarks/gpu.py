"""Speed of evaluation and training at the size of real models: `python benchmarks/gpu.py`, on a machine with a GPU.

Models have the real configurations and random weights, so nothing is downloaded; needed are torch, transformers, peft,
accelerate, pydantic and this package's source, and bitsandbytes for NF4. Each model is asked few-shot questions, and trained
with them, at several sizes of a pass. The share of the GPU that does useful work is

    useful FLOPs / seconds / peak FLOP/s

where useful is what the questions need at least, every distinct token once: 2 FLOPs a weight of the linear layers and
token, 4 a head, its width and pair of tokens that attend, 2 a weight of the output projection and position whose logits
are read. Training counts twice that: frozen weights have no gradients, only activations do. The peak is that of a large
bfloat16 matrix product, measured in the same run, and the one that the manufacturer names.
"""

import argparse
import gc
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from asking import Work, ask, make_prompts, make_questions, make_ready
from gpu_table import HEADER, Row, line, table
from outctl.errors import OutctlError
from random_models import CONFIGURATIONS, configuration, make_tokenizer, quantise, random_model
from report import machine, publish
from training_steps import seconds_a_step, training_items

PRECISIONS = ("bfloat16", "nf4")
NOMINAL = {"H200": 989e12, "H100 80GB HBM3": 989e12, "H100 PCIe": 756e12, "A100": 312e12}
"""FLOP/s of dense bfloat16 matrix products, as the manufacturer names them, by a part of the device's name."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        tokens: sizes of an evaluation's pass, in nodes of the token tree.
        samples: sizes of a training's step, in samples.
        questions: questions of an evaluation.
        repeats: evaluations that are timed, behind one that is not.
        steps: training steps that are timed, behind two that are not.
        matrix: size of the matrix product.
    """

    tokens: Sequence[int] = (1024, 4096, 16384)
    samples: Sequence[int] = (8, 16, 32)
    questions: int = 384
    repeats: int = 2
    steps: int = 5
    matrix: int = 8192


TINY_SCALE = Scale(tokens=(1024,), samples=(2,), questions=8, repeats=1, steps=2, matrix=512)


@dataclass(frozen=True)
class Peak:
    """FLOP/s of the device: of a large matrix product, and by its name where that is known."""

    measured: float
    nominal: float | None


class Subject:
    """A model under measurement, with what its FLOPs follow from."""

    def __init__(self, name: str, precision: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.precision = precision
        self.tokenizer = tokenizer
        self.model = random_model(config, _device())
        head = self.model.get_output_embeddings()
        linear = [module for module in self.model.modules() if isinstance(module, torch.nn.Linear)]
        self.weights = sum(module.weight.numel() for module in linear if module is not head)
        self.head_weights: int = head.weight.numel()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.attention: int = 4 * config.num_hidden_layers * config.num_attention_heads * width
        if precision == "nf4":
            quantise(self.model)
        make_ready(self.model)

    def flops(self, work: Work) -> float:
        """Useful FLOPs of a forward pass."""
        return 2.0 * self.weights * work.nodes + self.attention * work.pairs + 2.0 * self.head_weights * work.positions


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _synchronised() -> float:
    """The time, once the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _times_out_of_memory() -> int:
    return int(torch.cuda.memory_stats()["num_ooms"]) if torch.cuda.is_available() else 0


def measure_peak(size: int) -> Peak:
    """Time a bfloat16 matrix product on random numbers; zeros would let the GPU clock higher."""
    left, right = (torch.randn(size, size, device=_device(), dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    start = _synchronised()
    for _ in range(10):
        left @ right
    seconds = (_synchronised() - start) / 10
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return Peak(2.0 * size**3 / seconds, next((value for part, value in NOMINAL.items() if part in name), None))


def measured(row: Row, peak: Peak, measure: Callable[[], tuple[float, float]]) -> Row:
    """Fill a row with what `measure` returns, units a second and useful FLOP/s, or with what was in its way."""
    _free()
    before = _times_out_of_memory()
    try:
        per_second, flops = measure()
    except (torch.OutOfMemoryError, OutctlError) as error:
        # Where memory does not suffice for a single prompt, the engine says so itself.
        return replace(row, note="out of memory" if isinstance(error, torch.OutOfMemoryError) else str(error))
    halved = _times_out_of_memory() - before
    return replace(
        row,
        note=f"halved: memory ran out {halved} times" if halved else row.note,
        per_second=per_second,
        peak_gb=torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None,
        of_measured=flops / peak.measured,
        of_nominal=flops / peak.nominal if peak.nominal else None,
    )


def evaluate(subject: Subject, scale: Scale, tokens: int) -> tuple[float, float]:
    """Prompts a second, and useful FLOP/s."""
    questions = make_questions(subject.tokenizer, make_prompts(subject.tokenizer, scale.questions))
    ask(subject.model, subject.tokenizer, questions, tokens)
    seconds = []
    for _ in range(scale.repeats):
        start = _synchronised()
        ask(subject.model, subject.tokenizer, questions, tokens)
        seconds.append(_synchronised() - start)
    taken = statistics.median(seconds)
    return len(questions) / taken, subject.flops(Work(questions)) / taken


def train(subject: Subject, scale: Scale, samples: int, profiler: Any = None) -> tuple[float, float]:
    """Samples a second, and useful FLOP/s."""
    warm_up = 2
    prompts = make_prompts(subject.tokenizer, samples * (warm_up + scale.steps + 1))
    questions = make_questions(subject.tokenizer, prompts)
    items = training_items(prompts, questions)
    taken = seconds_a_step(subject.model, subject.tokenizer, items, samples, warm_up, scale.steps, profiler)
    return samples / taken, 2.0 * subject.flops(Work(questions[:samples])) / taken


def profile(subject: Subject, scale: Scale) -> None:
    """Print the kernels that take longest, in one evaluation pass and in one training step."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    tokens, samples = scale.tokens[-1], scale.samples[-1]
    # As many questions as one pass takes: 112 tokens of their own, and some of surface forms.
    questions = make_questions(subject.tokenizer, make_prompts(subject.tokenizer, max(1, (tokens - 318) // 130)))
    ask(subject.model, subject.tokenizer, questions, tokens)
    with torch.profiler.profile(activities=activities) as passed:
        start = _synchronised()
        ask(subject.model, subject.tokenizer, questions, tokens)
        seconds = _synchronised() - start
    print(f"\n{subject.name} {subject.precision}: a pass over {len(questions)} questions, {1000 * seconds:.0f} ms")
    print(passed.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=70))
    stepped = torch.profiler.profile(activities=activities)
    per_second, _ = train(subject, replace(scale, steps=1), samples, stepped)
    print(f"\n{subject.name} {subject.precision}: a step of {samples} samples, {1000 * samples / per_second:.0f} ms")
    print(stepped.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=70))


def measure_model(
    name: str,
    precision: str,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    arguments: argparse.Namespace,
    peak: Peak,
) -> list[Row]:
    """All rows of one model in one precision, or its profile."""
    row = Row(model=name, precision=precision, task="evaluation", size=0)
    try:
        subject = Subject(name, precision, config, tokenizer)
    except torch.OutOfMemoryError:
        return [replace(row, note="out of memory")]
    scale: Scale = arguments.scale
    if arguments.profile:
        profile(subject, scale)
        return []
    rows = []
    for tokens in scale.tokens:
        rows.append(measured(replace(row, size=tokens), peak, partial(evaluate, subject, scale, tokens)))
        print(line(rows[-1]), flush=True)
    for samples in scale.samples:
        training = replace(row, task="training", size=samples)
        rows.append(measured(training, peak, partial(train, subject, scale, samples)))
        print(line(rows[-1]), flush=True)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--tokens", type=int, nargs="+", help="sizes of an evaluation's pass, in distinct tokens")
    parser.add_argument("--samples", type=int, nargs="+", help="sizes of a training's step, in samples")
    parser.add_argument("--tiny", action="store_true", help="tiny models of the same architectures, for a CPU")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take longest, and no table")
    parser.add_argument("--minutes", type=float, default=8.0, help="no further model is begun after that")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--publish", type=Path, help="put the figures of such a file into README.md, measure nothing")
    arguments = parser.parse_args()
    arguments.scale = TINY_SCALE if arguments.tiny else Scale()
    for option in ("tokens", "samples"):
        if getattr(arguments, option):
            arguments.scale = replace(arguments.scale, **{option: getattr(arguments, option)})
    return arguments


def main() -> None:
    """Measure and print, or publish what was measured elsewhere."""
    arguments = _arguments()
    if arguments.publish:
        result = json.loads(arguments.publish.read_text(encoding="utf-8"))
        publish("gpu", result, table(result))
        return
    start = time.perf_counter()
    peak = measure_peak(arguments.scale.matrix)
    rows: list[Row] = []

    def result() -> dict[str, Any]:
        seconds = time.perf_counter() - start
        return {"machine": machine(), "peak": asdict(peak), "rows": [asdict(row) for row in rows], "seconds": seconds}

    print(HEADER)
    for name in arguments.models:
        config = configuration(name, arguments.tiny)
        tokenizer = make_tokenizer(config.vocab_size)
        for precision in arguments.precisions:
            skipped = ""
            if precision == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
                skipped = "skipped: bitsandbytes is not installed"
            elif time.perf_counter() - start > 60 * arguments.minutes:
                skipped = "skipped: no time left"
            if skipped:
                rows.append(Row(name, precision, "evaluation", 0, note=skipped))
                print(line(rows[-1]), flush=True)
            else:
                rows += measure_model(name, precision, tokenizer, config, arguments, peak)
            if arguments.json:
                # After each model, so that a machine that goes away leaves what it measured.
                arguments.json.write_text(json.dumps(result(), indent=2) + "\n", encoding="utf-8")
            _free()
    if not arguments.profile:
        print(table(result()).rpartition("\n\n")[2])


if __name__ == "__main__":
    main()
