"""What a training sample costs by the keys of a recipe: `python benchmarks/recipes.py`.

The default experiment's recipe on its own samples, and the same with keys changed: seconds a sample, over whole steps of
the trainer as it runs, and the nodes of the token trees that it computes. The repeats of all alternate in one process.
"""

import argparse
from collections import defaultdict
from contextlib import chdir
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

import comparison
from outctl.config.adapters import AdapterRecipe
from outctl.config.reading import read_config
from outctl.finetune.collation import TrainingItem, build_batch, encode_samples
from outctl.inference.engine_check import choose_engine
from outctl.models.loading import LoadedModel, keep_differentiable, load_model
from outctl.stages.dag import load_plan
from outctl.tasks.cases import draw_samples
from outctl.tasks.samples import Sample
from outctl.tasks.templates import Template
from training_steps import seconds_a_step

CONFIG = Path("config") / "config.yaml"
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"batch_size": 16},
    {"batch_size": 64},
    {"whole_words": 1.0},
    {"whole_words": 1.0, "forms": "as_written"},
    {"whole_words": 1.0, "forms": "all"},
    {"whole_words": 1.0, "forms": "as_written", "batch_size": 16},
    {"rank": 64},
    {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    {"layers": list(range(10, 30))},
)
"""What is changed of the default recipe, row by row."""
ENCODED = {"batch_size", "forms", "whole_words"}
"""Keys that say how samples are laid out; the others are the trainer's."""
WARM_UP = 1
"""Steps before the clock starts."""


def name_of(change: dict[str, Any]) -> str:
    """A row's name; of many layers the first and the last are enough."""
    if not change:
        return "the default recipe"
    shown = {key: f"{value[0]} to {value[-1]}" if key == "layers" else value for key, value in change.items()}
    return ", ".join(
        f"`{key}: {', '.join(value) if isinstance(value, list) else value}`" for key, value in shown.items()
    )


def default_training(steps: int) -> tuple[AdapterRecipe, list[Sample]]:
    """The recipe of the default experiment's adapter, and samples of the case that it trains on, for so many steps."""
    # A configuration's paths are relative to where outctl runs.
    with chdir(comparison.ROOT):
        plan = load_plan(read_config(CONFIG), [CONFIG])
    (recipe,) = plan.recipes.values()
    (case,) = recipe.cases
    most = max(change.get("batch_size", recipe.batch_size) for change in CHANGES)
    count = (WARM_UP + steps + 2) * most
    samples = draw_samples(
        plan.experiment.cases[case],
        Template.model_validate(plan.inputs.templates[case]),
        case,
        "train",
        count,
        plan.experiment.seed,
    )
    return recipe, list(samples)


def tree_nodes(loaded: LoadedModel, items: list[TrainingItem], size: int) -> float:
    """Nodes a sample, as the mean over the first batches."""
    batches = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    built = [build_batch(loaded.model, loaded.tokenizer, batch) for batch in batches]
    return mean(len(batch.tree) / size for batch in built)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--model", type=Path, help="a prepared model; the embedded one by default")
    options.add_argument("--threads", type=int, default=comparison.report.cores(), help="threads; all cores by default")
    options.add_argument("--steps", type=int, default=1, help="timed steps of a repeat")
    options.add_argument("--repeats", type=int, default=3, help="repeats of each recipe")
    options.add_argument("--publish", action="store_true", help="write README.md and results/recipes.json")
    arguments = options.parse_args()
    model = comparison.prepared_model(arguments.model)
    torch.set_num_threads(arguments.threads)
    recipe, samples = default_training(arguments.steps)
    loaded = load_model(model, "auto", True)
    keep_differentiable(loaded.model)
    choose_engine(loaded.model)
    encoded = {}
    for change in CHANGES:
        varied = recipe.model_copy(update=change)
        items = encode_samples(loaded.tokenizer, samples, True, varied.forms, varied.whole_words)
        encoded[name_of(change)] = (items, varied.batch_size, {key: change[key] for key in change.keys() - ENCODED})
    nodes = {name: tree_nodes(loaded, items, size) for name, (items, size, _) in encoded.items()}
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for repeat in range(arguments.repeats):
        for name, (items, size, keys) in encoded.items():
            # Each repeat has an order of its own: which samples are read to their end differs from batch to batch.
            taken = seconds_a_step(
                loaded.model, loaded.tokenizer, items, size, WARM_UP, arguments.steps, seed=repeat, **keys
            )
            seconds[name].append(taken / size)
    base = median(seconds[name_of({})])
    header = ["recipe", "nodes a sample", "seconds a sample", "times the default's"]
    rows = [
        [name, f"{nodes[name]:.1f}", comparison.spread(taken, 3), f"{median(taken) / base:.2f}"]
        for name, taken in seconds.items()
    ]
    figures = {"seconds": seconds, "nodes": nodes, "threads": arguments.threads}
    comparison.publish(arguments, "recipes", figures, comparison.table(header, rows))


if __name__ == "__main__":
    main()
