"""Train one LoRA adapter for one model: `Trainer` of transformers, with the losses on word distributions."""

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from outctl import divergences
from outctl.checkpoints import Stop, newest_sealed, seal, stopped
from outctl.config import AdapterRecipe
from outctl.errors import OutctlError
from outctl.evaluation.records import Progress
from outctl.evaluation.statistics import mean_interval, slope_interval
from outctl.files import copy_directory, whole_directory, write_jsonl
from outctl.finetune.collation import TrainingBatch, TrainingItem, build_batch, encode_samples, split_held_out
from outctl.finetune.losses import LOSSES, compared, distribution_loss
from outctl.finetune.retention import Retention
from outctl.finetune.tracking import Tracking
from outctl.inference.passes import halving
from outctl.inference.prompts import build_prompts
from outctl.inference.tree_forward import enable_trees, logits_at
from outctl.inference.word_forms import word_continuations
from outctl.inference.word_probabilities import word_log_probabilities
from outctl.layout import beside
from outctl.locks import only_writer
from outctl.models.loading import LoadedModel, keep_differentiable, load_model
from outctl.models.lora import compute_in_input_type
from outctl.provenance import check_upstream, is_made, write_provenance
from outctl.specs import FinetuneSettings, Spec
from outctl.tasks.neutral import neutral_prompts
from outctl.tasks.samples import Sample, read_samples

Item = TypeVar("Item")
CONFIDENCE, RESAMPLES = 0.95, 1000
"""Of the intervals in a training's log."""


def train_adapter(
    spec: Spec,
    model_dir: Path,
    samples: Sequence[Path],
    output: Path,
    checkpoints: Path,
    tracking: Tracking | None = None,
    progress: Progress | None = None,
) -> None:
    """Train an adapter and write it, with `training.jsonl` and its provenance, whole or not at all.

    Args:
        spec: the specification of this job.
        model_dir: the prepared model.
        samples: training samples of each case of the recipe, in the order of its names.
        output: the directory to write.
        checkpoints: where checkpoints are kept while training; a training of the same spec goes on from the last one.
        tracking: where it shows its curves while it runs; nowhere without it.
        progress: called as steps are done.

    Raises:
        OutctlError: the recipe does not fit the model or the samples, or a service to report to is not installed.
    """
    settings = spec.settings_as(FinetuneSettings)
    recipe = settings.recipe
    check_upstream(spec, f"fetch-model/{settings.model}", model_dir / "provenance.json", whole=False)
    for case, file in zip(sorted(recipe.cases), samples, strict=False):
        check_upstream(spec, f"make-samples/{case}/train", beside(file))
    chosen = _chosen_samples(recipe, samples)
    to_train, held_out = split_held_out(chosen, recipe.held_out_samples)
    to_train = with_targets(to_train, recipe.targets, recipe.seed)
    if len(to_train) < recipe.batch_size:
        raise OutctlError(
            f"{len(to_train)} samples are left to train on, fewer than batch_size: {recipe.batch_size}; "
            "ask for more samples, keep back fewer, or lower the batch size"
        )
    folder = checkpoints / spec.hash[:16]
    if tracking:
        tracking.prepare(spec.hash[:16])
    with only_writer(output), only_writer(folder):
        # The workflow deletes an output that was finished after the workflow itself was killed, so it is kept here too.
        finished = folder / "finished"
        if is_made(finished / "provenance.json", spec):
            print(f"{output}: finished by another start, taken from {finished}")
        else:
            _train(spec, settings, model_dir, to_train, held_out, finished, folder, tracking, progress)
        copy_directory(finished, output)


def _train(
    spec: Spec,
    settings: FinetuneSettings,
    model_dir: Path,
    to_train: list[Sample],
    held_out: list[Sample],
    output: Path,
    folder: Path,
    tracking: Tracking | None,
    progress: Progress | None,
) -> None:
    recipe = settings.recipe
    loaded = load_model(model_dir, settings.loading.precision, settings.loading.chat)
    keep_differentiable(loaded.model)
    enable_trees(loaded.model)
    set_seed(recipe.seed)
    adapted = add_adapter(loaded.model, recipe)
    stop = Stop()
    trainer = DistributionTrainer(
        adapted,
        loaded.tokenizer,
        recipe,
        encode_samples(loaded.tokenizer, to_train, loaded.chat, recipe.forms),
        encode_samples(loaded.tokenizer, held_out, loaded.chat),
        folder,
        _retention(loaded, adapted, recipe),
        callbacks=[
            _Checkpoints(stop, recipe.log_every),
            _Steps(progress),
            *([tracking.callback()] if tracking else []),
        ],
        reporting=tracking.arguments() if tracking else None,
    )
    checkpoint = newest_sealed(folder, "checkpoint-*")
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < recipe.steps:
        raise stopped(f"{trainer.state.global_step} of {recipe.steps} steps")
    _write_adapter(spec, loaded, trainer, len(to_train), output)
    for outdated in folder.glob("checkpoint-*"):
        shutil.rmtree(outdated, ignore_errors=True)


def _retention(loaded: LoadedModel, adapted: Any, recipe: AdapterRecipe) -> Retention | None:
    """What the recipe's retention term needs, None without one."""
    if recipe.retention_weight == 0.0:
        return None
    prompts = build_prompts(loaded.tokenizer, neutral_prompts("train"), loaded.chat)
    return Retention(adapted, prompts, recipe.retention_prompts, recipe.seed)


def _chosen_samples(recipe: AdapterRecipe, files: Sequence[Path]) -> list[list[Sample]]:
    """The first samples of each case's file, as many as the recipe says."""
    if len(files) != len(recipe.cases):
        raise OutctlError(f"the recipe trains on {len(recipe.cases)} cases, and {len(files)} sample files are given")
    chosen = []
    for (case, count), file in zip(sorted(recipe.cases.items()), files, strict=True):
        available = read_samples(file)
        if len(available) < count or available[0].case != case:
            raise OutctlError(f"{file}: holds {len(available)} samples of {available[0].case}, not {count} of {case}")
        chosen.append(available[:count])
    return chosen


def with_targets(samples: Sequence[Sample], targets: str, seed: int) -> list[Sample]:
    """The samples with the targets that a recipe trains on; what the questions ask for stays as it is.

    Args:
        samples: samples to train on.
        targets: `asked` leaves them alone; `shuffled` gives each the target of another one with as many words, and a limit
            that of another limit; `even` gives all words the same.
        seed: seed of the shuffling.
    """
    if targets == "asked":
        return list(samples)
    if targets == "even":
        return [
            sample.model_copy(update={"target": [1 / len(sample.target)] * len(sample.target)}) for sample in samples
        ]
    alike: dict[tuple[int, bool], list[int]] = {}
    for number, sample in enumerate(samples):
        alike.setdefault((len(sample.target), sample.at_most), []).append(number)
    given = list(samples)
    for numbers in alike.values():
        order = random.Random(f"{seed}/targets").sample(numbers, len(numbers))
        # Each takes the next one's in a random circle, so that none keeps its own by chance of the draw.
        for number, other in zip(order, [*order[1:], order[0]], strict=True):
            given[number] = samples[number].model_copy(update={"target": samples[other].target})
    return given


def linear_names(model: Any) -> list[str]:
    """Last parts of the names of all linear layers but the output projection, quantised ones included."""
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    return sorted(names)


def add_adapter(model: Any, recipe: AdapterRecipe) -> Any:
    """Wrap a model with a fresh LoRA adapter; the base is frozen, the adapter's weights are float32.

    Raises:
        OutctlError: the model lacks a layer or module that the recipe names.
    """
    depth = model.config.num_hidden_layers
    if beyond := [layer for layer in recipe.layers or [] if not 0 <= layer < depth]:
        raise OutctlError(f"layers: {beyond[0]} is not among the model's layers 0 to {depth - 1}")
    known = linear_names(model)
    targets = known if recipe.target_modules == "all-linear" else recipe.target_modules
    if unknown := [name for name in targets if name not in known]:
        raise OutctlError(f"target_modules: the model has no {unknown[0]!r}; its linear layers are {', '.join(known)}")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(targets),
        layers_to_transform=recipe.layers,
    )
    adapted = get_peft_model(model, config)
    compute_in_input_type(adapted)
    return adapted


def _collate(items: list[TrainingItem]) -> dict[str, list[TrainingItem]]:
    return {"items": items}


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
        retention: Retention | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        reporting: dict[str, Any] | None = None,
    ) -> None:
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.batch_size,
            gradient_accumulation_steps=recipe.accumulation,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
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
        self.retention = retention
        self.retention_kl: list[float] = []

    def word_log_p(self, model: Any, items: Sequence[TrainingItem]) -> tuple[Tensor, TrainingBatch]:
        """Log-probabilities (B, K) of the words, and the batch with what they are compared with."""
        batch = build_batch(model, self.tokenizer, items)
        logits = logits_at(model, batch.inputs, batch.words.nodes)
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
        """Loss and gradients of a batch, in one pass or, where memory does not suffice for that, in halves.

        The last batch of an optimiser step brings the step's retention term with it, so that it counts once a step.
        """
        items = inputs["items"]
        step = super().training_step

        def step_on(part: Sequence[TrainingItem]) -> Tensor:
            loss: Tensor = step(model, {"items": list(part), "share": len(part) / len(items)}, num_items_in_batch)
            return loss

        loss = self._in_parts(model, items, step_on)
        if self.retention is not None and self.accelerator.sync_gradients:
            loss = loss + self._retention_step(model, self.retention)
        return loss

    def _retention_step(self, model: Any, retention: Retention) -> Tensor:
        """The weighted retention term of this optimiser step, and its gradients."""
        numbers = retention.numbers(self.state.global_step)
        weight = self.recipe.retention_weight

        def step_on(part: Sequence[int]) -> Tensor:
            term = weight * retention.divergences(model, part).sum() / len(numbers)
            term.backward()  # type: ignore[no-untyped-call]
            return term.detach()

        term = self._in_parts(model, numbers, step_on)
        self.retention_kl.append(term.item() / weight)
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

        return torch.stack(halving(items, step_on)).sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the line that is being logged the latest held-out measurement, and the mean of the retention term."""
        mean = {"retention_kl": sum(self.retention_kl) / len(self.retention_kl)} if self.retention_kl else {}
        super().log({**logs, **self.measured, **mean}, start_time)
        self.measured, self.retention_kl = {}, []

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: `Trainer`'s formula knows no token trees."""
        return 0

    @torch.no_grad()
    def measure_held_out(self) -> dict[str, float]:
        """Mean TVD, slope of the first word's conditional share on its target, and mean mass on the held-out samples."""
        model = self.model
        model.eval()
        given: list[float] = []
        wanted: list[float] = []
        distances: list[float] = []
        masses: list[float] = []
        size = self.recipe.batch_size
        for start in range(0, len(self.held_out), size):
            log_p, batch = self.word_log_p(model, self.held_out[start : start + size])
            log_p, target = compared(log_p, batch.target, batch.by_rank, batch.at_most)
            distances += divergences.tvd(log_p, target).tolist()
            masses += log_p.exp().sum(-1).tolist()
            # A limit is no share that a word is to have.
            given += log_p.softmax(-1)[~batch.at_most, 0].tolist()
            wanted += target[~batch.at_most, 0].tolist()
        model.train()
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


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Says how many steps are done."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.progress:
            self.progress(state.global_step, state.max_steps)


class _Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Seals every checkpoint; and when the job is asked to stop, takes one and ends the training there.

    It does so where a line of the log is complete, since the mean loss of a line cannot be resumed in its middle.
    """

    def __init__(self, stop: Stop, log_every: int) -> None:
        self.stop = stop
        self.log_every = log_every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.stop.requested and state.global_step % self.log_every == 0:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


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


def _write_adapter(spec: Spec, loaded: LoadedModel, trainer: DistributionTrainer, samples: int, output: Path) -> None:
    recipe = trainer.recipe
    with whole_directory(output) as target:
        for config in trainer.model.peft_config.values():
            # PEFT keeps a set, which every process would write in another order.
            config.target_modules = sorted(config.target_modules)
        trainer.model.save_pretrained(target, safe_serialization=True)
        # PEFT adds a model card with nothing filled in.
        (target / "README.md").unlink(missing_ok=True)
        rows = training_log(trainer.state.log_history, recipe.batch_size * recipe.accumulation)
        write_jsonl(target / "training.jsonl", rows)
        write_provenance(
            target / "provenance.json",
            spec,
            [file for file in target.iterdir() if file.is_file()],
            base_weights_hash=loaded.weights_hash,
            trained_on=samples,
            threads=torch.get_num_threads(),
            omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
            **loaded.description,
        )
