"""The steps of the pipeline: a command a rule."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from outctl.cli.app import (
    DEFAULT_CONFIG,
    STEPS,
    Checkpoints,
    Config,
    ModelDir,
    Output,
    ResultsDir,
    SpecFile,
    app,
    console,
    known,
    layout_of,
    plan_of,
    progress_bar,
    spec_of,
)
from outctl.config import BASELINE
from outctl.plan import SPLITS, Plan
from outctl.runs import PLAN_VARIABLE, evaluations_of_this_run
from outctl.specs import Spec

if TYPE_CHECKING:
    from outctl.evaluation.evaluate import EvaluationJob


@app.command("fetch-model", rich_help_panel=STEPS)
def fetch_model(
    model: Annotated[str, typer.Argument(help="Name of the model in the registry.")],
    spec: SpecFile = None,
    output: Output = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Fetch a model and prepare it: safetensors, tokenizer, chat template. The only step that uses the network."""
    from outctl.models.prepare import prepare_model

    if spec is None or output is None:
        plan = plan_of(config)
        known("model", model, list(plan.registry.models))
        output = output or plan.layout.model(model)
    prepare_model(spec_of(spec, config, "fetch-model", model), model, output)


@app.command("make-samples", rich_help_panel=STEPS)
def make_samples(
    case: Annotated[str, typer.Argument(help="Name of the case in the configuration.")],
    split: Annotated[str, typer.Argument(help="train or eval.")],
    spec: SpecFile = None,
    output: Output = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Draw the samples of a case: seeded questions that every model answers alike."""
    from outctl.tasks.make import make_samples as make

    known("split", split, list(SPLITS))
    if spec is None or output is None:
        plan = plan_of(config)
        known("case", case, plan.cases)
        output = output or plan.layout.samples(case, split)
    make(spec_of(spec, config, "make-samples", case, split), output)


@app.command(rich_help_panel=STEPS)
def finetune(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    adapter: Annotated[str, typer.Argument(help="Name of the adapter's recipe in the configuration.")],
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--samples", help="Training samples of a case of the recipe; repeat in the order of the names."),
    ] = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Train a LoRA adapter whose loss compares the model's word distribution with the target."""
    from outctl.finetune.train import train_adapter

    if not (spec and model_dir and samples and output and checkpoints):
        plan = plan_of(config)
        known("model", model, plan.models)
        known("adapter", adapter, list(plan.recipes))
        model_dir = model_dir or plan.layout.model(model)
        samples = samples or plan.training_files(adapter)
        output = output or plan.layout.adapter(model, adapter)
        checkpoints = checkpoints or plan.layout.checkpoints()
    train_adapter(spec_of(spec, config, "finetune", model, adapter), model_dir, samples, output, checkpoints)


@app.command(rich_help_panel=STEPS)
def evaluate(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    variant: Annotated[str, typer.Argument(help="baseline, or the name of an adapter.")],
    case: Annotated[str, typer.Argument(help="Name of the case.")],
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--samples", help="The samples to ask; without it, the case's evaluation samples."),
    ] = None,
    adapter_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--adapter-dir", help="The adapter's directory; without it, where the workflow keeps it."),
    ] = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Measure the exact word probabilities of a model, with or without an adapter, on the samples of a case."""
    from outctl.evaluation.evaluate import EvaluationJob, evaluate_case

    if spec and model_dir and samples and output and checkpoints and (adapter_dir or variant == BASELINE):
        job = EvaluationJob(
            spec_of(spec, config, "evaluate", model, variant, case),
            model_dir,
            samples,
            adapter_dir,
            output,
            checkpoints,
        )
    else:
        plan = plan_of(config)
        known("model", model, plan.models)
        known("variant", variant, plan.variants)
        known("case", case, plan.cases)
        planned = _evaluation(plan, spec_of(spec, config, "evaluate", model, variant, case), model, variant, case)
        job = EvaluationJob(
            planned.spec,
            model_dir or planned.model_dir,
            samples or planned.samples,
            adapter_dir or planned.adapter,
            output or planned.output,
            checkpoints or planned.checkpoints,
        )
    with progress_bar() as progress:
        task = progress.add_task(f"{model} {variant} {case}", total=None)
        evaluate_case(
            job,
            lambda done, total: progress.update(task, completed=done, total=total),
            _evaluations_beside(model, variant, case),
        )


def _evaluation(plan: Plan, spec: Spec, model: str, variant: str, case: str) -> "EvaluationJob":
    """An evaluation with everything where the workflow keeps it."""
    from outctl.evaluation.evaluate import EvaluationJob

    layout = plan.layout
    return EvaluationJob(
        spec,
        layout.model(model),
        layout.samples(case, "eval"),
        layout.variant_adapter(model, variant),
        layout.records(model, variant, case),
        layout.checkpoints(),
    )


def _evaluations_beside(model: str, variant: str, case: str) -> "list[EvaluationJob]":
    """What the run of the workflow that this job belongs to evaluates of the same model and variant; nothing by hand."""
    if PLAN_VARIABLE not in os.environ:
        return []
    plan = Plan.thaw(Path(os.environ[PLAN_VARIABLE]))
    evaluations = evaluations_of_this_run(plan.layout)
    others = [names for names in evaluations if names[:2] == (model, variant) and names[2] != case]
    return [_evaluation(plan, plan.spec("evaluate", *names), *names) for names in others]


@app.command("aggregate-model", rich_help_panel=STEPS)
def aggregate_model(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    spec: SpecFile = None,
    results_dir: ResultsDir = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Gather the summary and the records of one model in one file."""
    from outctl.results.model_results import aggregate_model as gather

    layout = layout_of(results_dir, config)
    gather(spec_of(spec, config, "aggregate-model", model), layout, layout.model_results(model))


@app.command(rich_help_panel=STEPS)
def aggregate(spec: SpecFile = None, results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Combine the results of all models: one JSON file and two tables."""
    from outctl.results.aggregation import aggregate as combine

    combine(spec_of(spec, config, "aggregate"), layout_of(results_dir, config))


@app.command(rich_help_panel=STEPS)
def figures(spec: SpecFile = None, results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Draw the figures."""
    from outctl.results.figures import draw_figures

    draw_figures(spec_of(spec, config, "figures"), layout_of(results_dir, config))


@app.command(rich_help_panel=STEPS)
def summary(results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Show the results of the last run as a table, and where its files are."""
    from outctl.results.console import print_summary

    print_summary(layout_of(results_dir, config), console())
