"""`Trainer` of transformers with a loss on word distributions, and what it logs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from outctl.config.adapters import AdapterRecipe
from outctl.config.registries import LOSSES
from outctl.finetune.collation import TrainingBatch, TrainingItem, build_batch, split_items
from outctl.finetune.kl_penalty import KlPenalty
from outctl.finetune.losses import compared, distribution_loss
from outctl.inference.branches import next_token_logits
from outctl.inference.passes import split_on_out_of_memory, tokens_that_fit
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import word_log_probabilities
from outctl.metrics.divergences import tvd
from outctl.metrics.statistics import CONFIDENCE, RESAMPLES, mean_interval, slope_interval
from outctl.storage.checkpoints import chosen_once

Item = TypeVar("Item")


def _collate(items: list[TrainingItem]) -> dict[str, list[TrainingItem]]:
    return {"items": items}


class _HeldOut(NamedTuple):
    """One sample kept back: its distance, the words' mass, the first word's share of it, the share asked for."""

    tvd: float
    mass: float
    given: float
    wanted: float
    at_most: bool


class DistributionTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` whose loss is a divergence between target and word distribution at the last position of each prompt."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        recipe: AdapterRecipe,
        items: list[TrainingItem],
        held_out: list[TrainingItem],
        folder: Path,
        kl_penalty: KlPenalty | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        reporting: dict[str, Any] | None = None,
    ) -> None:
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=recipe.steps,
            # A batch of the `Trainer` is a whole step: it would end each epoch with a step of fewer batches.
            per_device_train_batch_size=recipe.samples_per_step,
            learning_rate=recipe.learning_rate,
            # The one that is called constant has no warm-up.
            lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
            warmup_steps=recipe.warmup_steps,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            seed=recipe.seed,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=recipe.log_every,
            save_steps=recipe.checkpoint_every,
            save_total_limit=2,
            remove_unused_columns=False,
            dataloader_drop_last=True,
            disable_tqdm=True,
            **(reporting or {"report_to": []}),
        )
        # A job trains on one GPU, however many the machine shows; `Trainer` would spread the batch over all.
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=items,
            data_collator=_collate,
            callbacks=[_Measurements(self, recipe.measure_every), *callbacks],
        )
        self.model_accepts_loss_kwargs = False
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.held_out = held_out
        self.measured: dict[str, float] = {}
        self.kl_penalty = kl_penalty
        self.penalty_kl: list[float] = []
        self._tokens: int | None = None

    def word_log_p(self, model: Any, items: Sequence[TrainingItem]) -> tuple[Tensor, TrainingBatch]:
        """Log-probabilities (B, K) of the words, and the batch with what they are compared with."""
        batch = build_batch(model, self.tokenizer, items)
        logits = next_token_logits(model, batch.tree, batch.words.nodes.tolist())
        continuations = word_continuations(self.tokenizer, logits.shape[-1]).to(logits.device)
        return word_log_probabilities(logits, batch.words, continuations), batch

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Mean divergence of a part of a batch, times its share of the batch; the signature is `Trainer`'s."""
        log_p, batch = self.word_log_p(model, inputs["items"])
        share: float = inputs["share"]
        loss = LOSSES[self.recipe.loss]
        return distribution_loss(loss, log_p, batch.target, batch.by_rank, batch.at_most) * share

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Loss and gradients of an optimiser step: of all its samples alike, and of the KL penalty once.

        Batches are cut into as many passes as memory needs, which change the gradients by no more than rounding. A pass that
        was planned too large is cut in halves where that is noticed, as on a GPU; elsewhere the system may end the process.
        """
        items = inputs["items"]
        step = super().training_step

        def step_on(part: Sequence[TrainingItem]) -> Tensor:
            loss: Tensor = step(model, {"items": list(part), "share": len(part) / len(items)}, num_items_in_batch)
            return loss

        size = self.recipe.batch_size
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        parts = [part for batch in batches for part in split_items(model, batch, self.tokens())]
        loss = torch.stack([self._in_parts(model, part, step_on) for part in parts]).sum()
        if self.kl_penalty is not None:
            loss = loss + self._kl_penalty_step(model, self.kl_penalty)
        return loss

    def tokens(self) -> int:
        """Tokens of a pass of a step, chosen at the first with all but the passes themselves in memory, and kept from there."""
        if self._tokens is None:
            file = Path(self.args.output_dir) / "tokens_per_pass_of_a_step.json"
            self._tokens = chosen_once(file, lambda: tokens_that_fit(self.model, training=True))
        return self._tokens

    def _kl_penalty_step(self, model: Any, kl_penalty: KlPenalty) -> Tensor:
        """The weighted KL penalty of this optimiser step, and its gradients."""
        numbers = kl_penalty.numbers(self.state.global_step)
        weight = self.recipe.retention_weight

        def step_on(part: Sequence[int]) -> Tensor:
            term = weight * kl_penalty.divergences(model, part).sum() / len(numbers)
            term.backward()  # type: ignore[no-untyped-call]
            return term.detach()

        term = self._in_parts(model, numbers, step_on)
        self.penalty_kl.append(term.item() / weight)
        return term

    def _in_parts(self, model: Any, items: Sequence[Item], step: Callable[[Sequence[Item]], Tensor]) -> Tensor:
        """Sum of what a step with gradients gives for all items at once, or for parts where memory does not suffice."""
        weights = [weight for weight in model.parameters() if weight.requires_grad]

        def step_on(part: Sequence[Item]) -> list[Tensor]:
            before = [None if weight.grad is None else weight.grad.clone() for weight in weights]
            try:
                return [step(part)]
            except RuntimeError:
                # Memory may run out half-way through the backward pass.
                for weight, gradient in zip(weights, before, strict=True):
                    weight.grad = gradient
                raise

        return torch.stack(split_on_out_of_memory(items, step_on)).sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the line that is being logged the latest held-out measurement, and the mean of the KL penalty."""
        mean = {"retention_kl": sum(self.penalty_kl) / len(self.penalty_kl)} if self.penalty_kl else {}
        super().log({**logs, **self.measured, **mean}, start_time)
        self.measured, self.penalty_kl = {}, []

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: `Trainer`'s formula knows no token trees."""
        return 0

    @torch.no_grad()
    def measure_held_out(self) -> dict[str, float]:
        """Mean TVD, slope of the first word's conditional share on its target, and mean mass on the held-out samples."""
        model = self.model
        model.eval()

        def measure(items: Sequence[TrainingItem]) -> list[_HeldOut]:
            log_p, batch = self.word_log_p(model, items)
            log_p, target = compared(log_p, batch.target, batch.by_rank, batch.at_most)
            columns = (tvd(log_p, target), log_p.exp().sum(-1), log_p.softmax(-1)[:, 0], target[:, 0])
            return list(map(_HeldOut, *(column.tolist() for column in columns), batch.at_most.tolist()))

        size = self.recipe.batch_size
        found: list[_HeldOut] = []
        for start in range(0, len(self.held_out), size):
            found += split_on_out_of_memory(self.held_out[start : start + size], measure)
        model.train()
        # A limit is no share that a word is to have.
        split = [one for one in found if not one.at_most]
        wanted, given = [one.wanted for one in split], [one.given for one in split]
        distances, masses = [one.tvd for one in found], [one.mass for one in found]
        seed = self.recipe.seed
        return {
            **mean_interval(distances, CONFIDENCE, RESAMPLES, seed).columns("held_out_tvd"),
            **slope_interval(wanted, given, CONFIDENCE, RESAMPLES, seed).columns("held_out_slope"),
            **mean_interval(masses, CONFIDENCE, RESAMPLES, seed).columns("held_out_mass"),
        }


class _Measurements(TrainerCallback):  # type: ignore[misc]
    """Measures the held-out samples every few steps and at the end, for the line that is logged at that step."""

    def __init__(self, trainer: DistributionTrainer, every: int) -> None:
        self.trainer = trainer
        self.every = every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.trainer.measured = self.trainer.measure_held_out()
            control.should_log = True
        return control


LOGGED = (
    *("loss", "learning_rate", "grad_norm"),
    *(f"held_out_{name}{end}" for name in ("tvd", "slope", "mass") for end in ("", "_low", "_high")),
    "retention_kl",
)
"""What a line of `training.jsonl` holds beside step and samples, in this order."""


def training_log(history: Sequence[dict[str, Any]], samples_per_step: int) -> list[dict[str, Any]]:
    """One row a logged step from `Trainer`'s history: step, samples seen, loss, learning rate, measurements."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        step = int(entry["step"])
        row = rows.setdefault(step, {"step": step, "samples": step * samples_per_step})
        kept = {key: entry[key] for key in LOGGED if key in entry}
        row.update({key: None if value != value else value for key, value in kept.items()})
    return [row for _, row in sorted(rows.items()) if len(row) > 2]
