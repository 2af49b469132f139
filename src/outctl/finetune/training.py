"""Train one LoRA adapter for one model."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from outctl.config.adapters import AdapterRecipe
from outctl.config.models import EngineChoice, check_trainable
from outctl.evaluation.records import Progress
from outctl.finetune.adapter import adapted_by, add_adapter
from outctl.finetune.callbacks import Checkpoints, Steps
from outctl.finetune.collation import encode_samples
from outctl.finetune.kl_penalty import KlPenalty
from outctl.finetune.tracking import Tracking
from outctl.finetune.trainer import DistributionTrainer, training_log
from outctl.inference.engine_check import prepare
from outctl.inference.passes import keep_tokens, tokens_that_fit
from outctl.inference.prompts import build_prompts
from outctl.models.loading import LoadedModel, keep_differentiable
from outctl.storage.checkpoints import Stop, chosen_once, newest_sealed, stopped
from outctl.storage.files import write_jsonl
from outctl.tasks.neutral import neutral_prompts
from outctl.tasks.samples import Sample


def train(
    loaded: LoadedModel,
    recipe: AdapterRecipe,
    to_train: list[Sample],
    held_out: list[Sample],
    folder: Path,
    tracking: Tracking | None = None,
    progress: Progress | None = None,
    engine: EngineChoice = "auto",
) -> DistributionTrainer:
    """Train an adapter to the end.

    Args:
        loaded: the model, which gets the adapter.
        recipe: how it is trained.
        to_train: the samples to train on, as `outctl.finetune.held_out` divides them.
        held_out: those to measure on.
        folder: where checkpoints are kept; a training whose checkpoints lie there goes on from the last one.
        tracking: where it shows its curves while it runs; nowhere without it.
        progress: called as steps are done.
        engine: `rows` where the token tree is not to be used.

    Raises:
        OutctlError: the recipe does not fit the model, or the process was asked to stop.
    """
    check_trainable("precision", loaded.description["compute_dtype"])
    keep_differentiable(loaded.model)
    prepare(loaded, engine)
    # Where the model picks the words, each step asks it.
    keep_tokens(loaded.model, chosen_once(folder / "tokens_per_pass.json", lambda: tokens_that_fit(loaded.model)))
    set_seed(recipe.seed)
    adapted = add_adapter(loaded.model, recipe)
    stop = Stop()
    trainer = DistributionTrainer(
        adapted,
        loaded.tokenizer,
        recipe,
        encode_samples(loaded.tokenizer, to_train, loaded.chat, recipe.forms, recipe.whole_words, loaded.options),
        encode_samples(loaded.tokenizer, held_out, loaded.chat, options=loaded.options),
        folder,
        _kl_penalty(loaded, adapted, recipe),
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
    return trainer


def write_adapter(trainer: DistributionTrainer, target: Path) -> dict[str, Any]:
    """Write a trained adapter, and the log of its training, into a directory; give what its provenance says of it."""
    recipe = trainer.recipe
    for config in trainer.model.peft_config.values():
        # PEFT keeps sets, which every process would write in another order.
        for key in ("target_modules", "target_parameters"):
            if isinstance(getattr(config, key), (list, set)):
                setattr(config, key, sorted(getattr(config, key)))
    trainer.model.save_pretrained(target, safe_serialization=True)
    # PEFT adds a model card with nothing filled in.
    (target / "README.md").unlink(missing_ok=True)
    write_jsonl(target / "training.jsonl", training_log(trainer.state.log_history, recipe.samples_per_step))
    return {
        "adapted": adapted_by(trainer.model).described(),
        "tokens_per_pass": trainer.tokens(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that is finished."""
    for outdated in folder.glob("checkpoint-*"):
        shutil.rmtree(outdated, ignore_errors=True)


def _kl_penalty(loaded: LoadedModel, adapted: Any, recipe: AdapterRecipe) -> KlPenalty | None:
    """What the recipe's KL penalty needs, None without one."""
    if recipe.retention_weight == 0.0:
        return None
    prompts = build_prompts(loaded.tokenizer, neutral_prompts("train"), loaded.chat, loaded.options)
    return KlPenalty(adapted, prompts, recipe.retention_prompts, recipe.seed)
