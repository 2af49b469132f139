"""What goes to the hub beside an adapter's weights: a model card with its scores, and a configuration for other programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from outctl.config.adapters import AdapterRecipe
from outctl.config.models import ModelEntry, PromptOptions
from outctl.config.names import BASELINE, REFERENCES
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import check_outputs
from outctl.pipeline.staleness import explain
from outctl.results.console import number
from outctl.storage.files import copy_file, read_json, whole_directory, write_json, write_text

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can be told to make room for, `--max-lora-rank`."""


@dataclass(frozen=True)
class Card:
    """What a card is made from.

    Attributes:
        repo: the adapter's repository, `owner/name`.
        model: the base model's name in the registry.
        adapter: the adapter's name.
        entry: the base model.
        base: the base model's repository on the hub; None where it is unknown.
        license: the adapter's licence, as the hub names it; None leaves it open.
        recipe: how the adapter was trained.
        provenance: of the adapter.
        combined: the combined results of the experiment.
        loader: the class of transformers that loads the base model.
    """

    repo: str
    model: str
    adapter: str
    entry: ModelEntry
    base: str | None
    license: str | None
    recipe: AdapterRecipe
    provenance: dict[str, Any]
    combined: dict[str, Any]
    loader: str = "AutoModelForCausalLM"

    @property
    def revision(self) -> str | None:
        """The revision of the base model's repository that was adapted; None where it is unknown."""
        place = self.entry.source.place
        return place.revision if place.by == "hub" and place.names == (self.base,) else None

    def rows(self, table: str, *variants: str) -> list[dict[str, Any]]:
        """Rows of this model and these variants in a table of the combined results; none where it was not measured."""
        found = self.combined.get(table, [])
        return [row for row in found if row["model"] == self.model and row["variant"] in variants]


def write_hub_folder(
    plan: Plan, model: str, adapter: str, repo: str, base: str | None, license_name: str | None, target: Path
) -> None:
    """Write what is to be pushed of a trained and measured adapter.

    Args:
        plan: the plan of the experiment.
        model: name of the model.
        adapter: name of the adapter.
        repo: the repository, `owner/name`.
        base: the base model's repository on the hub, where the registry's source is another.
        license_name: the licence, as the hub names it.
        target: the folder, which must not be there yet.

    Raises:
        OutctlError: adapter or scores are missing, unfinished or stale, or the folder is taken.
    """
    if target.exists():
        raise OutctlError(f"{target}: is there already; name a folder that is not")
    folder = plan.layout.adapter(model, adapter)
    _check_current(plan, model, adapter)
    place = plan.registry.models[model].source.place
    card = Card(
        repo=repo,
        model=model,
        adapter=adapter,
        entry=plan.registry.models[model],
        base=base or (place.names[0] if place.by == "hub" else None),
        license=license_name,
        recipe=plan.recipes[adapter],
        provenance=check_outputs(folder / "provenance.json"),
        combined=read_json(plan.layout.combined()),
        loader=_loader(plan.layout.model(model)),
    )
    with whole_directory(target) as temporary:
        copy_file(folder / "adapter_model.safetensors", temporary / "adapter_model.safetensors")
        copy_file(folder / "training.jsonl", temporary / "training.jsonl")
        config = adapter_config(card, read_json(folder / "adapter_config.json"))
        write_json(temporary / "adapter_config.json", config)
        write_text(temporary / "README.md", model_card(card))


def _loader(model: Path) -> str:
    """The name of the class of transformers that loads a prepared model."""
    from transformers import AutoConfig

    from outctl.models.auto_class import auto_class

    return str(auto_class(AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)).__name__)


def adapter_config(card: Card, config: dict[str, Any]) -> dict[str, Any]:
    """An adapter's configuration that names the base model as others find it: the path of this machine's copy is of no use."""
    return config | {"base_model_name_or_path": card.base, "revision": card.revision}


def _check_current(plan: Plan, model: str, adapter: str) -> None:
    plan.inspect()
    for job, what in ((("finetune", model, adapter), "the adapter is"), (("aggregate",), "the scores are")):
        if not plan.provenance(*job).is_file():
            raise OutctlError(f"{model}/{adapter}: {what} not made yet; run the workflow first")
        for stale, lines in explain(plan, job).items():
            if lines:
                reason = f"{'/'.join(stale)}: {lines[0]}"
                raise OutctlError(f"{model}/{adapter}: {what} stale ({reason}); run the workflow first")


def model_card(card: Card) -> str:
    """The card: metadata for the hub, and what a reader needs to judge and to use the adapter."""
    data = ModelCardData(
        base_model=card.base,
        library_name="peft",
        pipeline_tag="text-generation",
        license=card.license,
        language="en",
        tags=["outctl", "lora", "output-control", "calibration"],
        model_name=card.repo.partition("/")[2],
        eval_results=list(_results(card)),
        ignore_metadata_errors=False,
    )
    sections = [
        f"# {card.repo.partition('/')[2]}",
        _introduction(card),
        "## Scores",
        _scores(card),
        *([_comparisons(card)] if card.rows("comparisons", card.adapter) else []),
        *([_retention(card)] if card.rows("retention", card.adapter) else []),
        "## How to load it",
        _loading(card),
        "## How it was trained",
        _training(card),
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


METRICS = {
    "avg_tvd": "mean total variation distance (0 is perfect)",
    "control_slope": "slope of control (1 is control, 0 ignores the number)",
    "within_slope": "slope of control of the largest share alone (0 ignores by how much it is the largest)",
    "accuracy": "share of questions within tolerance",
}
"""The columns that the metadata hold, and what they are called there."""


def _results(card: Card) -> Iterator[EvalResult]:
    for row in card.rows("summaries", card.adapter):
        for column, name in METRICS.items():
            if row[column] is not None:
                yield EvalResult(
                    task_type="text-generation",
                    dataset_type=f"outctl/{row['case_type']}",
                    dataset_name=f"outctl {row['case_type']}",
                    dataset_split="eval",
                    metric_type=column,
                    metric_name=name,
                    metric_value=round(row[column], 6),
                )


def _introduction(card: Card) -> str:
    source = card.entry.source
    base = f"[{card.base}](https://huggingface.co/{card.base})" if card.base else f"`{card.model}`"
    if card.revision:
        base += f" at revision `{card.revision}`"
    elif source.place.by == "index" or not card.base:
        base += f" ({source.description})"
    cases = ", ".join(f"`{case}`" for case in sorted(card.recipe.cases))
    learned = {
        "asked": "the distribution over words that the question asks for",
        "shuffled": "the distribution over words that another question asks for, as a control,",
        "even": "an even split whatever the question asks for, as a control,",
    }[card.recipe.targets]
    read = (
        "the model's exact next-word distribution"
        if card.recipe.whole_words == 1.0
        else f"the words' exact probabilities (in {card.recipe.whole_words:.0%} of the questions; mostly those of their first "
        "tokens in the others)"
    )
    return (
        f"A LoRA adapter for {base}. It was trained to answer with {learned} (cases {cases}), with a loss that compares "
        f"{read} with the target. Its next-word distribution may differ from the base model's "
        "everywhere else too."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else number(value, digits)


def _interval(row: dict[str, Any], name: str, digits: int = 3) -> str:
    """A number with its interval."""
    if row[name] is None or row[f"{name}_low"] is None:
        return _number(row[name], digits)
    return f"{_number(row[name], digits)} ({_number(row[f'{name}_low'], digits)} .. {_number(row[f'{name}_high'], digits)})"


def _scores(card: Card) -> str:
    rows = []
    summaries = card.combined["summaries"]
    for case in dict.fromkeys(row["case_type"] for row in summaries):
        of_case = [row for row in summaries if row["case_type"] == case]
        for row in sorted(of_case, key=lambda row: row["variant"] in REFERENCES):
            own = row["model"] == card.model and row["variant"] in (BASELINE, card.adapter)
            if own or row["variant"] in REFERENCES:
                name = f"**{row['variant']}**" if row["variant"] == card.adapter else row["variant"]
                rows.append(
                    [
                        case + (" (trained on)" if case in card.recipe.cases else ""),
                        name if own else f"reference: {name}",
                        str(row["num_trials"]),
                        _interval(row, "avg_tvd"),
                        _interval(row, "control_slope", 2),
                        _interval(row, "within_slope", 2),
                        _interval(row, "accuracy", 2),
                        _number(row["avg_mass"], 2),
                    ]
                )
    level = card.combined["provenance"]["settings"]["statistics"]["confidence"]
    return (
        "On questions that training never showed. `avg_tvd` is the mean total variation distance between the asked and the "
        "given distribution (0 is perfect), `slope` the slope of the given on the asked share of the first word (1 is control, "
        "0 ignores the number), `within` the same of the largest share alone (0 knows which share is the largest, and ignores "
        "by how much), `accuracy` the share of questions within tolerance, `mass` the mean probability of answering "
        f"with one of the words. Intervals are at {level:.0%}. The references ignore the numbers: an even split, all on the word "
        "with the largest share, or the best fixed shares by rank (`ordinal`).\n\n"
        + _table(("case", "variant", "n", "avg_tvd", "slope", "within", "accuracy", "mass"), rows)
    )


def _comparisons(card: Card) -> str:
    rows = [
        [
            row["case_type"],
            str(row["num_pairs"]),
            _interval(row, "tvd_difference"),
            "-" if row["tvd_p_holm"] is None else f"{row['tvd_p_holm']:.2g}",
            _interval(row, "slope_difference", 2),
            f"{row['num_gained']} / {row['num_lost']}",
        ]
        for row in card.rows("comparisons", card.adapter)
        if row["against_variant"] == BASELINE
    ]
    head = ("case", "pairs", "difference in tvd", "p (Holm)", "difference in slope", "gained / lost")
    return (
        "Against the base model, paired by question: a difference in tvd below 0 is better; p is of the sign-flip permutation "
        "test; gained and lost are questions within tolerance.\n\n" + _table(head, rows)
    )


def _retention(card: Card) -> str:
    (row,) = card.rows("retention", card.adapter)
    return (
        "What training changed elsewhere: KL(base || adapter) along the base model's answers to "
        f"{row['num_prompts']} neutral prompts is {_interval(row, 'kl')} nats a token; perplexity of held-out prose goes from "
        f"{_interval(row, 'perplexity_baseline', 1)} to {_interval(row, 'perplexity_adapter', 1)}."
    )


def _loading(card: Card) -> str:
    base = card.base or "PATH/OF/THE/BASE/MODEL"
    pinned = f', revision="{card.revision}"' if card.revision else ""
    asked = "through its chat template" if card.entry.chat else "as a plain transcript, without a chat template"
    options = card.entry.model_dump(mode="json", include=set(PromptOptions.model_fields), exclude_defaults=True)
    if options:
        asked += (
            f", with {', '.join(f'`{key}: {json.dumps(value, ensure_ascii=False)}`' for key, value in options.items())}"
        )
    enough = [rank for rank in VLLM_RANKS if rank >= card.recipe.rank]
    vllm = (
        "vLLM takes the repository's name or the path of a copy; adapters of this form were tried with it, this one was not:"
        f"\n\n```\nvllm serve {base} --enable-lora --max-lora-rank {enough[0]} --lora-modules {card.adapter}={card.repo}\n```"
        if enough
        else f"vLLM takes ranks up to {VLLM_RANKS[-1]}; this adapter has {card.recipe.rank}."
    )
    return (
        f"The model was asked {asked}. With PEFT:\n\n```python\nfrom peft import PeftModel\n"
        f"from transformers import {card.loader}, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{base}"{pinned})\n'
        f'model = {card.loader}.from_pretrained("{base}"{pinned})\n'
        f'model = PeftModel.from_pretrained(model, "{card.repo}")\n```\n\n{vllm}'
    )


def _training(card: Card) -> str:
    recipe = yaml.safe_dump(card.recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None).strip()
    found = card.provenance
    versions = found["environment"]["packages"]
    used = ", ".join(f"{name} {versions[name]}" for name in ("outctl", "peft", "torch", "transformers"))
    return (
        f"On {found['trained_on']} questions; base weights in {found['precision']}, computed in {found['compute_dtype']} on "
        f"{found['device']}; {used}. Losses and measurements by step are in `training.jsonl`. The recipe:\n\n"
        f"```yaml\n{recipe}\n```"
    )
