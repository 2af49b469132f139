"""Samples per second and memory of trainings, beside what else there is: `python benchmarks/finetuning.py`.

Every contender trains a LoRA adapter of the same rank on all linear layers of the same model, in batches of the same size
and with the same number of threads. With `--to-tvd 0.3` it is measured instead how long each trains until it answers
held-out questions that well. Prints tables; `--publish` writes them into `benchmarks/README.md`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

import comparison
import engine
from careful import CarefulScript
from child import Contender
from contest import Contest, Result
from flops import MatrixRate, arithmetic
from outctl.models.loading import compute_dtype
from trainers import IGNORED, Apart, Outctl, Setting, Sft, TrainerPadded
from workload import WORKLOADS, short

RATE = "matrix rate"
OWN = "outctl"
BACKWARD = 2.0
"""A training step's operations as a multiple of its forward pass: frozen weights have no gradients, inputs do."""


def _matrix_rate(setting: Setting) -> MatrixRate:
    return MatrixRate(setting.model)


COMPARED = (
    Contender(OWN, Outctl),
    Contender("Trainer, padded to 512", TrainerPadded, (512,)),
    Contender("Trainer, padded to the longest", TrainerPadded),
    Contender("TRL SFTTrainer", Sft),
)
TIMED = (
    Contender(RATE, _matrix_rate),
    *COMPARED,
    Contender("outctl, nothing shared", Apart),
    Contender("careful script", CarefulScript, (1, 2, 4, 16)),
)


def samples_per_second(result: Result, batch: int) -> list[float]:
    """One value a run, from the median of its steps."""
    return [batch / median(turn.answer) for turn in result.turns]


def rows(results: Sequence[Result], batch: int) -> list[list[str]]:
    """A row of the table for each contender but the matrix rate."""
    written = []
    for result in results:
        if result.name == RATE:
            continue
        tried = f" ({result.choice} samples a pass)" if result.tried else ""
        if result.failure or not result.turns:
            written.append([result.name, f"failed: {result.failure}", "", ""])
            continue
        speed = comparison.spread(samples_per_second(result, batch), 2)
        written.append([result.name + tried, speed, *comparison.memory(result)])
    return written


def useful_flops(model: Path, samples: Sequence[Any], batch: int) -> float:
    """Operations of a training step, as the mean over consecutive batches; the adapter's own are left out."""
    questions, _ = engine.ask(engine.read_tokenizer(model), samples)
    batches = [questions[start : start + batch] for start in range(0, len(questions) - batch + 1, batch)]
    forward = arithmetic(model).forward_flops
    return BACKWARD * mean(forward(engine.tree_size(part)) for part in batches)


def share_of_matrix_rate(results: dict[str, Result], flops: float) -> dict[str, float] | None:
    """Useful operations per second of outctl, beside those of the machine; None where one of them was not measured."""
    own, rate = results.get(OWN), results.get(RATE)
    if own is None or rate is None or not own.turns or not rate.turns:
        return None
    reached = flops / median(median(turn.answer) for turn in own.turns)
    return comparison.share(reached, [turn.answer for turn in rate.turns])


def time_steps(arguments: argparse.Namespace, model: Path, kind: str) -> tuple[dict[str, Any], str]:
    """Hold the contest of step times on one workload.

    Returns:
        The figures, and the table with a sentence below it.
    """
    samples = WORKLOADS[kind]((IGNORED + arguments.steps) * arguments.batch, arguments.seed)
    setting = _setting(arguments, model, samples)
    contenders = comparison.chosen(TIMED, arguments.contenders)
    results = Contest(contenders, setting, comparison.LOGS / "finetuning" / kind).hold(arguments.repeats)
    share = share_of_matrix_rate(
        {result.name: result for result in results}, useful_flops(model, samples, arguments.batch)
    )
    figures = {"matrix_rate": share, "contenders": [comparison.result_json(result) for result in results]}
    header = [f"{kind}: batches of {arguments.batch}", "samples per second", "peak memory", "above the weights"]
    text = comparison.table(header, rows(results, arguments.batch))
    return figures, f"{text}\n\n{comparison.share_sentence(share)}" if share else text


def _setting(arguments: argparse.Namespace, model: Path, samples: list[Any], **more: Any) -> Setting:
    return Setting(
        model=model,
        samples=samples,
        steps=arguments.steps,
        batch=arguments.batch,
        rank=arguments.rank,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        threads=arguments.threads,
        **more,
    )


def chase(arguments: argparse.Namespace, model: Path) -> tuple[dict[str, Any], str]:
    """Train every contender once until it answers held-out questions as well as is asked.

    Returns:
        The figures, and the table.
    """
    goal = arguments.to_tvd
    setting = _setting(
        arguments,
        model,
        short(arguments.most_steps * arguments.batch, arguments.seed),
        held_out=short(arguments.held_out, arguments.seed, held_out=True),
        goal=goal,
        most_steps=arguments.most_steps,
        measure_every=arguments.measure_every,
    )
    contenders = comparison.chosen(COMPARED, arguments.contenders)
    contest = Contest(contenders, setting, comparison.LOGS / "to_tvd")
    results = contest.hold(arguments.repeats, method="chase")
    written = []
    for result in results:
        if result.failure or not result.turns:
            written.append([result.name, f"failed: {result.failure}", "", ""])
            continue
        last = [turn.answer[-1] for turn in result.turns]
        arrived = all(tvd <= goal for _, _, tvd in last)
        seconds = comparison.spread([seconds for _, seconds, _ in last], 0)
        steps = comparison.spread([steps for steps, _, _ in last], 0)
        tvd = comparison.spread([tvd for _, _, tvd in last], 3)
        written.append([result.name, seconds if arrived else f"not within {seconds}", steps, tvd])
    header = [f"until a held-out TVD of {goal}", "seconds", "steps", "TVD there"]
    figures = {"goal": goal, "contenders": [comparison.result_json(result) for result in results]}
    return figures, comparison.table(header, written)


def main() -> None:
    """Measure, and write figures and tables."""
    options = comparison.parser(str(__doc__).splitlines()[0])
    options.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    options.add_argument("--steps", type=int, default=4, help="timed steps of a run")
    options.add_argument("--batch", type=int, default=16, help="samples of a step")
    options.add_argument("--rank", type=int, default=16, help="rank of the adapters")
    options.add_argument("--learning-rate", type=float, default=1e-3, help="learning rate behind the warm-up")
    options.add_argument("--to-tvd", type=float, help="measure the time until this held-out TVD instead")
    options.add_argument("--most-steps", type=int, default=300, help="with --to-tvd: steps after which to give up")
    options.add_argument("--measure-every", type=int, default=10, help="with --to-tvd: steps between measurements")
    options.add_argument("--held-out", type=int, default=64, help="with --to-tvd: number of held-out questions")
    arguments = options.parse_args()
    model = comparison.prepared_model(arguments.model)
    comparison.set_threads(arguments.threads)
    if arguments.to_tvd is not None:
        found, text = chase(arguments, model)
        comparison.publish(arguments, "to_tvd", {"threads": arguments.threads, **found}, text)
        return
    figures: dict[str, Any] = {"threads": arguments.threads, "workloads": {}}
    texts = []
    for kind in arguments.workloads:
        print(f"{kind}:", file=sys.stderr)
        figures["workloads"][kind], text = time_steps(arguments, model, kind)
        texts.append(text)
    # Machines without bfloat16 arithmetic do another work, which has a table of its own.
    name = "finetuning" if compute_dtype() == torch.bfloat16 else "finetuning_float32"
    comparison.publish(arguments, name, figures, "\n\n".join(texts))


if __name__ == "__main__":
    main()
