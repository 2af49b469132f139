"""Contenders of the fine-tuning benchmark: ways to train a LoRA adapter towards a split of two words."""

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

import engine
from engine import Question
from outctl.tasks.samples import Sample

IGNORED = 1
"""Steps at the beginning of a training that are not timed: the first one also starts the data loader."""


@dataclass(frozen=True)
class Setting:
    """What every contender gets.

    Attributes:
        model: the prepared model.
        samples: what to train on.
        steps: timed steps of a run.
        batch: samples of a step.
        rank: rank of the adapter.
        learning_rate: its learning rate.
        seed: seed of everything that is drawn.
        threads: threads to compute with.
        held_out: what the TVD is measured on.
        goal: held-out TVD at which a training has arrived.
        most_steps: steps after which it has not.
        measure_every: steps between two measurements.
    """

    model: Path
    samples: list[Sample]
    steps: int
    batch: int
    rank: int
    learning_rate: float
    seed: int
    threads: int
    held_out: list[Sample] = field(default_factory=list)
    goal: float | None = None
    most_steps: int = 0
    measure_every: int = 0


Reached = Callable[[int, float], bool]
"""Told the number of steps done and the seconds that they took; says whether to stop."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of each optimiser step, data loading included, and what is done between steps left out."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start."""
        self.last = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Take the time, and stop the training where it has arrived."""
        self.seconds.append(time.perf_counter() - self.last)
        control.should_training_stop = self.reached(state.global_step, sum(self.seconds))
        self.last = time.perf_counter()
        return control


class Training(ABC):
    """A loaded contender. Its adapter goes on training from run to run, which takes as long as a fresh one."""

    trees = False

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        self.setting = setting
        self.loaded = engine.load(setting.model, self.trees)
        self.in_bf16 = engine.computes_in_bf16(self.loaded)
        # outctl stops before its last step, after which it would measure.
        steps = 1 + max(setting.most_steps, IGNORED + setting.steps)
        self.plan = engine.recipe(steps, setting.batch, setting.rank, setting.learning_rate, setting.seed)
        self.questions, _ = engine.ask(self.loaded.tokenizer, setting.samples)
        set_seed(setting.seed)
        self.adapted = self.adapt()
        self.adapted.train()
        if setting.goal is not None:
            self.fresh = {name: value.detach().clone() for name, value in self._adapter().items()}
            self.held_out = engine.HeldOut(setting.model, self.plan, setting.held_out)

    def adapt(self) -> Any:
        """The model with a fresh adapter on all linear layers, by PEFT's defaults."""
        self.loaded.model.config.use_cache = False
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.plan.rank,
            lora_alpha=self.plan.alpha,
            target_modules="all-linear",
        )
        return get_peft_model(self.loaded.model, config)

    def _adapter(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.adapted.named_parameters() if value.requires_grad}

    @abstractmethod
    def train(self, clock: Clock, folder: str, choice: Any) -> None:
        """Train until the clock says stop."""

    def _timed(self, reached: Reached, choice: Any) -> list[float]:
        clock = Clock(reached)
        with tempfile.TemporaryDirectory() as folder:
            self.train(clock, folder, choice)
        return clock.seconds

    def rehearse(self, choice: Any) -> None:
        """One step."""
        self._timed(lambda step, _: True, choice)

    def run(self, choice: Any) -> list[float]:
        """Train some steps and return the seconds of each, or train until the goal is reached."""
        wanted = IGNORED + self.setting.steps
        return self._timed(lambda step, _: step >= wanted, choice)[IGNORED:]

    def chase(self, choice: Any) -> list[tuple[int, float, float]]:
        """Train a fresh adapter until the held-out TVD is at most the goal.

        Returns:
            Steps, seconds and held-out TVD at each measurement, the first one before training.
        """
        setting = self.setting
        assert setting.goal is not None
        goal = setting.goal
        with torch.no_grad():
            for name, value in self._adapter().items():
                value.copy_(self.fresh[name])
        curve = [(0, 0.0, self.held_out(self.adapted))]

        def arrived(step: int, seconds: float) -> bool:
            if step % setting.measure_every == 0 or step >= setting.most_steps:
                curve.append((step, seconds, self.held_out(self.adapted)))
            return curve[-1][2] <= goal or step >= setting.most_steps

        self._timed(arrived, choice)
        return curve

    def arguments(self, folder: str) -> dict[str, Any]:
        """Arguments that all trainers built on `Trainer` share; the others are its defaults."""
        return {
            "output_dir": folder,
            "max_steps": self.plan.steps,
            "per_device_train_batch_size": self.plan.batch_size,
            "learning_rate": self.plan.learning_rate,
            "lr_scheduler_type": self.plan.schedule,
            "warmup_steps": self.plan.warmup_steps,
            "seed": self.plan.seed,
            "bf16": self.in_bf16,
            "use_cpu": not torch.cuda.is_available(),
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "report_to": [],
        }


class Outctl(Training):
    """outctl's own trainer: token trees, all forms of the words to their end, logits only where they are read."""

    trees = True

    def adapt(self) -> Any:
        """As the pipeline does."""
        return engine.with_adapter(self.loaded, self.plan)

    def train(self, clock: Clock, folder: str, choice: Any) -> None:
        """As the pipeline does."""
        engine.train(self.adapted, self.loaded, self.plan, self.setting.samples, Path(folder), clock)


class Apart(Outctl):
    """outctl's trainer with a pass for each sample, gathered to the same steps: nothing is shared between prompts."""

    def train(self, clock: Clock, folder: str, choice: Any) -> None:
        """As the pipeline does, with one sample a pass."""
        plan = self.plan.model_copy(update={"batch_size": 1, "gradient_accumulation_steps": self.plan.batch_size})
        engine.train(self.adapted, self.loaded, plan, self.setting.samples, Path(folder), clock)


class SoftLabelTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` with the soft-label cross-entropy over the words' first tokens behind each prompt."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Logits everywhere, of which one row a prompt is used."""
        first, target, last = inputs.pop("first"), inputs.pop("target"), inputs.pop("last")
        logits: Tensor = model(**inputs).logits
        log_p = logits[torch.arange(len(last)), last].float().log_softmax(-1)
        return -(target * log_p.gather(1, first)).sum(-1).mean()


def pad(rows: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Token ids padded on the right to a length, and their attention mask."""
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


class TrainerPadded(Training):
    """`Trainer` of transformers with PEFT; a choice is the length to pad to, None the longest of the batch."""

    def train(self, clock: Clock, folder: str, choice: int | None) -> None:
        """Train on the prompts."""

        def collate(items: list[Question]) -> dict[str, Tensor]:
            prompts = [item.prompt for item in items]
            longest = max(map(len, prompts))
            ids, mask = pad(prompts, max(choice or 0, longest))
            return {
                "input_ids": ids,
                "attention_mask": mask,
                "first": torch.tensor([item.first_tokens for item in items]),
                "target": torch.tensor([item.target for item in items]),
                "last": torch.tensor([len(prompt) - 1 for prompt in prompts]),
            }

        trainer = SoftLabelTrainer(
            model=self.adapted,
            args=TrainingArguments(**self.arguments(folder), remove_unused_columns=False, dataloader_drop_last=True),
            train_dataset=self.questions,
            data_collator=collate,
            callbacks=[clock],
        )
        trainer.model_accepts_loss_kwargs = False
        trainer.train()


class Sft(Training):
    """`SFTTrainer` of TRL: the same prompts, each with an answer drawn from its target, loss on the answer alone."""

    def train(self, clock: Clock, folder: str, choice: Any) -> None:
        """Train on prompts with answers."""
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        random = Random(self.setting.seed)
        end = self.loaded.tokenizer.eos_token_id
        rows = []
        for question in self.questions:
            (forms,) = random.choices(question.forms, question.target)
            answer = [*forms[0], end]
            mask = [0] * len(question.prompt) + [1] * len(answer)
            rows.append({"input_ids": [*question.prompt, *answer], "completion_mask": mask})
        config = SFTConfig(
            **self.arguments(folder),
            max_length=None,
            packing=False,
            completion_only_loss=True,
            gradient_checkpointing=False,
            train_sampling_strategy="group_by_length",
            dataloader_drop_last=True,
        )
        trainer = SFTTrainer(
            model=self.adapted,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=self.loaded.tokenizer,
            callbacks=[clock],
        )
        trainer.train()
