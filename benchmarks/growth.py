"""What an evaluation costs as it grows: `python benchmarks/growth.py`.

Seconds and memory of `answer_questions`, against the number of samples, the length of the prompts, the size of the
vocabulary and the number of models that are asked one after the other, all else as in `BASE`. Each point is a process of its
own with small models of random weights; three quarters of a prompt are the same in all prompts. The exponent is the slope
of the logarithm of the cost over the logarithm of the size: 1 is a cost in proportion, 0 one that does not grow.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASE = {"samples": 64, "prompt tokens": 128, "vocabulary": 16384, "models": 1}
AXES: dict[str, list[int]] = {
    "samples": [16, 64, 256, 1024],
    "prompt tokens": [64, 128, 256, 512, 1024],
    "vocabulary": [4096, 16384, 65536, 131072],
    "models": [1, 2, 4, 8],
}
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
TOKENS = 1024
"""Distinct tokens of a pass, the same on every machine."""


def _memory_mb(kind: str) -> float:
    """A size of this process: `VmRSS` now, `VmHWM` at its highest."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status: no {kind}")


def measure_here(point: dict[str, int]) -> dict[str, float]:
    """Measure a point in this process.

    Returns:
        `seconds` of the answers; `first_s`, of the first question to the first model, with what is prepared once a process;
        and `extra_mb`, by which the answers raised the memory above that of the models alone.
    """
    import torch

    from asking import ask, make_prompts, make_questions, make_ready
    from random_models import make_configuration, make_tokenizer, random_model

    tokenizer = make_tokenizer(point["vocabulary"])
    length = point["prompt tokens"]
    questions = make_questions(tokenizer, make_prompts(tokenizer, point["samples"], length, length * 3 // 4))
    config = make_configuration("llama", vocab_size=point["vocabulary"], **SMALL)
    seconds = extra = first = 0.0
    for number in range(point["models"]):
        model = random_model(config, torch.device("cpu"), torch.float32)
        make_ready(model)
        start = time.perf_counter()
        ask(model, tokenizer, questions[:1], TOKENS)
        first = first if number else time.perf_counter() - start
        # Sets the highest size back to the present one.
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        before = _memory_mb("VmRSS")
        start = time.perf_counter()
        ask(model, tokenizer, questions, TOKENS)
        seconds += time.perf_counter() - start
        extra = max(extra, _memory_mb("VmHWM") - before)
        del model
    return {"seconds": seconds, "first_s": first, "extra_mb": extra, "peak_mb": _memory_mb("VmHWM")}


def measure(point: dict[str, int], repeats: int) -> dict[str, Any]:
    """Measure a point in processes of its own; the median of each figure."""
    runs = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--point", json.dumps(point)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(run.stdout.splitlines()[-1]))
    return {**point, **{name: statistics.median(run[name] for run in runs) for name in runs[0]}}


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Least-squares slope of log cost over log size."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def table(axes: dict[str, list[dict[str, Any]]]) -> str:
    """A row an axis: the points, and the exponents of seconds and memory."""
    lines = ["| grows | sizes | seconds | exponent | memory of the answers | exponent |", "|---|---|---|---|---|---|"]
    for axis, points in axes.items():
        sizes = [point[axis] for point in points]
        seconds = [point["seconds"] for point in points]
        # Memory is seen in pages, so the smallest can be none at all.
        memory = [max(1.0, point["extra_mb"]) for point in points]
        lines.append(
            f"| {axis} | {', '.join(f'{size:,}' for size in sizes)} | {', '.join(f'{value:.2f}' for value in seconds)} "
            f"| {exponent(sizes, seconds):.2f} | {', '.join(f'{value:.0f}' for value in memory)} MB "
            f"| {exponent(sizes, memory):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), help="what grows")
    parser.add_argument("--points", type=int, default=5, help="points of an axis at most, the smallest first")
    parser.add_argument("--repeats", type=int, default=3, help="processes a point")
    parser.add_argument("--publish", action="store_true", help="write results/growth.json and README.md")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure_here(arguments.point)))
        return
    axes: dict[str, list[dict[str, Any]]] = {}
    for axis in arguments.axes:
        axes[axis] = []
        for size in AXES[axis][: arguments.points]:
            axes[axis].append(measure(BASE | {axis: size}, arguments.repeats))
            print(axes[axis][-1], file=sys.stderr, flush=True)
    print(table(axes))
    if arguments.publish:
        from report import publish

        publish("growth", {"base": BASE, "tokens_per_pass": TOKENS, "axes": axes}, table(axes))


if __name__ == "__main__":
    main()
