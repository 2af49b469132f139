"""What the time of an evaluation and of a training step goes into: `python benchmarks/profiling.py`.

Operators of one evaluation of 48 prompts and of four training steps of 16, on both workloads, by what they are for. Taken
with torch's profiler, which costs some time itself; the shares are what counts.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

import comparison
import engine
from workload import WORKLOADS

PARTS = {
    "matrix products of layers and output projection": ("mm", "addmm", "addmm_", "gemm_4bit"),
    "attention": ("bmm", "softmax", "index_select", "index_add", "scaled_dot_product", "baddbmm"),
    "norms, activations, rotation, sums": (
        "mul",
        "add",
        "silu",
        "pow",
        "mean",
        "rsqrt",
        "neg",
        "div",
        "sub",
        "exp",
        "sum",
    ),
    "copies": ("copy_", "cat", "clone", "fill_", "empty", "contiguous", "zero_"),
}
"""Kinds of operators, by parts of their names; the first that fits counts."""
REST = "all other operators"


class StopAfter(TrainerCallback):  # type: ignore[misc]
    """Ends a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Stop behind the last step."""
        control.should_training_stop = state.global_step >= self.steps
        return control


def kind_of(operator: str) -> str:
    """The part that an operator belongs to."""
    name = operator.removeprefix("aten::").lstrip("_")
    for part, names in PARTS.items():
        exact = part.startswith("matrix")
        if any(name == known.lstrip("_") if exact else name.startswith(known) for known in names):
            return part
    return REST


def shares(profiled: profile) -> dict[str, float]:
    """Share of the operators' own time by part."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total
    whole = sum(seconds.values())
    return {part: seconds[part] / whole for part in (*PARTS, REST)}


def profile_evaluation(model: Path, kind: str, seed: int) -> dict[str, float]:
    """Shares of an evaluation of 48 prompts, behind one that is not counted."""
    loaded = engine.load(model, trees=True)
    _, own = engine.ask(loaded.tokenizer, WORKLOADS[kind](48, seed))
    list(engine.answers(loaded, own))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        list(engine.answers(loaded, own))
    return shares(profiled)


def profile_training(model: Path, kind: str, seed: int) -> dict[str, float]:
    """Shares of four steps of 16 samples, behind two that are not counted."""
    loaded = engine.load(model, trees=True)
    samples = WORKLOADS[kind](16 * 8, seed)
    plan = engine.recipe(steps=7, batch=16, rank=16, learning_rate=1e-3, seed=seed)
    adapted = engine.with_adapter(loaded, plan)
    adapted.train()
    with tempfile.TemporaryDirectory() as folder:
        engine.train(adapted, loaded, plan, samples, Path(folder), StopAfter(2))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            engine.train(adapted, loaded, plan, samples, Path(folder), StopAfter(4))
    return shares(profiled)


def main() -> None:
    """Profile, and print a table."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--model", type=Path, help="a prepared model; the embedded one by default")
    options.add_argument("--threads", type=int, default=comparison.report.cores(), help="threads; all cores by default")
    options.add_argument("--seed", type=int, default=0, help="seed of the questions")
    options.add_argument("--publish", action="store_true", help="write README.md and results/profiling.json")
    arguments = options.parse_args()
    model = comparison.prepared_model(arguments.model)
    torch.set_num_threads(arguments.threads)
    found = {
        f"{task}, {kind}": measure(model, kind, arguments.seed)
        for task, measure in (("evaluation", profile_evaluation), ("training", profile_training))
        for kind in WORKLOADS
    }
    header = ["share of the operators' time", *found]
    rows = [[part, *(f"{100 * column[part]:.0f} %" for column in found.values())] for part in (*PARTS, REST)]
    comparison.publish(arguments, "profiling", {"shares": found}, comparison.table(header, rows))


if __name__ == "__main__":
    main()
