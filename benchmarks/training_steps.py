"""Timed training steps: `DistributionTrainer` as a training runs it, without what comes before and after the steps."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from outctl.config.adapters import AdapterRecipe
from outctl.finetune.adapter import add_adapter
from outctl.finetune.collation import TrainingItem
from outctl.finetune.trainer import DistributionTrainer
from outctl.inference.prompts import Prompt
from outctl.inference.word_probabilities import WordQuestion


def _recipe(steps: int, batch_size: int, keys: Mapping[str, Any]) -> AdapterRecipe:
    """A recipe that logs, measures and saves nothing between the steps."""
    never = 1_000_000
    return AdapterRecipe(
        cases={"benchmark": batch_size},
        steps=steps,
        batch_size=batch_size,
        log_every=never,
        measure_every=never,
        checkpoint_every=never,
        **keys,
    )


def training_items(prompts: Sequence[Prompt], questions: Sequence[WordQuestion]) -> list[TrainingItem]:
    """One item a question, with shares between 5 and 95 %."""
    shares = [0.05 + 0.9 * number / max(1, len(prompts) - 1) for number in range(len(prompts))]
    return [
        TrainingItem(prompt, question, (share, 1.0 - share), False)
        for prompt, question, share in zip(prompts, questions, shares, strict=True)
    ]


def seconds_a_step(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    items: list[TrainingItem],
    batch_size: int,
    warm_up: int,
    steps: int,
    profiler: Any = None,
    **keys: Any,
) -> float:
    """Mean seconds of a step, from one step's beginning to the next one's: batching and optimiser included.

    Args:
        model: the model; it is given a fresh adapter, and is left without one.
        tokenizer: its tokenizer.
        items: what to train on.
        batch_size: samples in a step.
        warm_up: steps before the clock starts.
        steps: steps that are timed.
        profiler: a profiler to start and stop with the clock.
        keys: of the recipe; without any it has rank 16 on all linear layers.
    """
    clock = _Clock(warm_up, steps, profiler)
    # The clock ends with the beginning of a step that nobody times; a training measures and saves at its last one, which is
    # never reached.
    recipe = _recipe(warm_up + steps + 2, batch_size, keys)
    adapted = add_adapter(model, recipe)
    try:
        _run(adapted, tokenizer, recipe, items, clock)
    finally:
        adapted.unload()
    return clock.seconds / steps


def _run(
    adapted: Any,
    tokenizer: PreTrainedTokenizerBase,
    recipe: AdapterRecipe,
    items: list[TrainingItem],
    clock: TrainerCallback,
) -> None:
    """Train with a callback, as `outctl.stages.finetune` does, and write nothing."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = DistributionTrainer(
            adapted,
            tokenizer,
            recipe,
            items,
            [],
            Path(folder),
            callbacks=[clock],
        )
        # It prints a line at the end, amid the table.
        trainer.remove_callback(PrinterCallback)
        trainer.train()


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time from the first step behind the warm-up to the one after the last that counts."""

    def __init__(self, warm_up: int, steps: int, profiler: Any) -> None:
        self.warm_up = warm_up
        self.steps = steps
        self.profiler = profiler
        self.started = self.seconds = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step not in (self.warm_up, self.warm_up + self.steps):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if state.global_step == self.warm_up:
            if self.profiler:
                self.profiler.start()
            self.started = time.perf_counter()
        else:
            self.seconds = time.perf_counter() - self.started
            if self.profiler:
                self.profiler.stop()
            control.should_training_stop = True
