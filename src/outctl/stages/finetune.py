"""Train one LoRA adapter for one model."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from outctl.config.adapters import AdapterRecipe
from outctl.errors import OutctlError
from outctl.evaluation.records import Progress
from outctl.finetune.adapter import add_adapter
from outctl.finetune.callbacks import Checkpoints, Steps
from outctl.finetune.collation import encode_samples, split_held_out
from outctl.finetune.retention import Retention
from outctl.finetune.targets import with_targets
from outctl.finetune.tracking import Tracking
from outctl.finetune.trainer import DistributionTrainer, training_log
from outctl.inference.prompts import build_prompts
from outctl.inference.tree_forward import enable_trees
from outctl.models.loading import LoadedModel, keep_differentiable, load_model
from outctl.pipeline.checkpoints import Stop, newest_sealed, stopped
from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import check_upstream, is_made, write_provenance
from outctl.pipeline.specs import FinetuneSettings, Spec
from outctl.storage.files import copy_directory, whole_directory, write_jsonl
from outctl.storage.locks import only_writer
from outctl.tasks.neutral import neutral_prompts
from outctl.tasks.samples import Sample, read_samples


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
        encode_samples(loaded.tokenizer, to_train, loaded.chat, recipe.forms, recipe.whole_words),
        encode_samples(loaded.tokenizer, held_out, loaded.chat),
        folder,
        _retention(loaded, adapted, recipe),
        callbacks=[
            Checkpoints(stop, recipe.log_every),
            Steps(progress),
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
