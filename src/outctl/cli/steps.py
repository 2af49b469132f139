"""The steps of the pipeline: a command a rule."""

from pathlib import Path
from typing import Annotated, Optional, get_args

import typer

from outctl.cli.app import (
    DEFAULT_CONFIG,
    STEPS,
    Checkpoints,
    Config,
    ModelDir,
    ModelsDir,
    Output,
    ResultsDir,
    SpecFile,
    app,
    console,
    known,
    layout_of,
    plan_of,
    shown_progress,
    spec_of,
)
from outctl.config.names import BASELINE, DEVIATION
from outctl.config.running import Logging, Service
from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.slices import SPLITS

ModelName = Annotated[str, typer.Argument(help="Name of the model.")]
VariantName = Annotated[str, typer.Argument(help="baseline, or the name of an adapter.")]
Samples = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--samples", help="The samples' file; without it, where the workflow keeps it."),
]
AdapterDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--adapter-dir", help="The adapter's directory; without it, where the workflow keeps it."),
]


@app.command("fetch-model", rich_help_panel=STEPS)
def fetch_model(
    model: Annotated[str, typer.Argument(help="Name of the model in the registry.")],
    spec: SpecFile = None,
    output: Output = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Fetch a model and prepare it: safetensors, tokenizer, chat template. The only step that uses the network."""
    from outctl.stages.fetch_model import prepare_model

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
    from outctl.stages.make_samples import make_samples as make

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
    tensorboard: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--tensorboard", help="Directory of its event files; without it, where the workflow keeps them."),
    ] = None,
    tracking: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--tracking", help="Where services keep their files; without it, where the workflow lets them."),
    ] = None,
    report_to: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--report-to", help="A service to report to as well: mlflow, trackio or wandb; repeat for several."
        ),
    ] = None,
    project: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--project", help="What services call the experiment; without it, as the configuration says."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Train a LoRA adapter whose loss compares the model's word distribution with the target."""
    from outctl.finetune.tracking import Tracking
    from outctl.stages.finetune import train_adapter

    for service in report_to or []:
        known("service", service, list(get_args(Service)))
    if not (spec and model_dir and samples and output and checkpoints and tensorboard and tracking):
        plan = plan_of(config)
        known("model", model, plan.models)
        known("adapter", adapter, list(plan.recipes))
        model_dir = model_dir or plan.layout.model(model)
        samples = samples or plan.training_files(adapter)
        output = output or plan.layout.adapter(model, adapter)
        checkpoints = checkpoints or plan.layout.checkpoints()
        tensorboard = tensorboard or plan.layout.tensorboard(model, adapter)
        tracking = tracking or plan.layout.tracking()
        report_to = report_to or list(plan.experiment.logging.report_to)
        project = project or plan.experiment.logging.project
    shown = Tracking(tensorboard, tuple(report_to or ()), project or Logging().project, tracking, f"{model}/{adapter}")
    found = spec_of(spec, config, "finetune", model, adapter)
    with shown_progress(f"{model} {adapter}", "steps") as progress:
        train_adapter(found, model_dir, samples, output, checkpoints, shown, progress)


@app.command(rich_help_panel=STEPS)
def evaluate(
    model: ModelName,
    variant: VariantName,
    case: Annotated[str, typer.Argument(help="Name of the case.")],
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Samples = None,
    adapter_dir: AdapterDir = None,
    temperature: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--temperature", help="File with the temperature to ask at, for the variant of that name."),
    ] = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Measure the exact word probabilities of a model, with or without an adapter, on the samples of a case."""
    from outctl.cli.model_jobs import jobs_beside, model_job

    names = (model, variant, case)
    job = model_job(
        "evaluate",
        names,
        spec,
        config,
        model_dir=model_dir,
        samples=samples,
        adapter=adapter_dir,
        temperature=temperature,
        output=output,
        checkpoints=checkpoints,
    )
    with shown_progress(f"{model} {variant} {case}") as progress:
        job.run(progress, jobs_beside(("evaluate", *names)))


@app.command("make-deviation-samples", rich_help_panel=STEPS)
def make_deviation_samples(spec: SpecFile = None, output: Output = None, config: Config = DEFAULT_CONFIG) -> None:
    """Draw the samples of base_model_deviation: texts to continue and then to break off."""
    from outctl.cli.model_jobs import check_asked_for
    from outctl.stages.make_deviation_samples import make_deviation_samples as make

    if spec is None or output is None:
        plan = plan_of(config)
        check_asked_for(plan, "make-deviation-samples")
        output = output or plan.layout.samples(DEVIATION, "eval")
    make(spec_of(spec, config, "make-deviation-samples"), output)


@app.command("fit-temperature", rich_help_panel=STEPS)
def fit_temperature(
    model: ModelName,
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Samples = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Fit the one temperature at which the baseline comes nearest to what training samples ask for."""
    from outctl.cli.model_jobs import model_job

    job = model_job(
        "fit-temperature",
        (model,),
        spec,
        config,
        model_dir=model_dir,
        samples=samples,
        output=output,
        checkpoints=checkpoints,
    )
    job.run()


@app.command("evaluate-deviation", rich_help_panel=STEPS)
def evaluate_deviation(
    model: ModelName,
    variant: VariantName,
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Samples = None,
    adapter_dir: AdapterDir = None,
    reference_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--reference-dir", help="The reference model, prepared, where the configuration names one."),
    ] = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Ask a model to continue texts and then to break off with what a base model would not say."""
    from outctl.cli.model_jobs import jobs_beside, model_job

    names = (model, variant)
    job = model_job(
        "evaluate-deviation",
        names,
        spec,
        config,
        model_dir=model_dir,
        samples=samples,
        adapter=adapter_dir,
        reference_dir=reference_dir,
        output=output,
        checkpoints=checkpoints,
    )
    with shown_progress(f"{model} {variant} {DEVIATION}") as progress:
        job.run(progress, jobs_beside(("evaluate-deviation", *names)))


@app.command("evaluate-retention", rich_help_panel=STEPS)
def evaluate_retention(
    model: ModelName,
    adapter: Annotated[str, typer.Argument(help="Name of the adapter.")],
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    adapter_dir: AdapterDir = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Measure what training changed elsewhere: neutral prompts and held-out text."""
    from outctl.cli.model_jobs import jobs_beside, model_job

    if adapter == BASELINE:
        raise OutctlError("retention compares an adapter with the baseline; name an adapter")
    names = (model, adapter)
    job = model_job(
        "evaluate-retention",
        names,
        spec,
        config,
        model_dir=model_dir,
        adapter=adapter_dir,
        output=output,
        checkpoints=checkpoints,
    )
    job.run(ahead=jobs_beside(("evaluate-retention", *names)))


@app.command("evaluate-agreement", rich_help_panel=STEPS)
def evaluate_agreement(
    model: ModelName,
    variant: VariantName,
    case: Annotated[str, typer.Argument(help="Name of the case.")],
    spec: SpecFile = None,
    model_dir: ModelDir = None,
    samples: Samples = None,
    adapter_dir: AdapterDir = None,
    output: Output = None,
    checkpoints: Checkpoints = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Sample answers to the questions of a case, and hold their frequencies against the exact probabilities."""
    from outctl.cli.model_jobs import jobs_beside, model_job

    names = (model, variant, case)
    job = model_job(
        "evaluate-agreement",
        names,
        spec,
        config,
        model_dir=model_dir,
        samples=samples,
        adapter=adapter_dir,
        output=output,
        checkpoints=checkpoints,
    )
    with shown_progress(f"{model} {variant} {case}") as progress:
        job.run(progress, jobs_beside(("evaluate-agreement", *names)))


@app.command("aggregate-model", rich_help_panel=STEPS)
def aggregate_model(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    spec: SpecFile = None,
    results_dir: ResultsDir = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Gather the summary and the records of one model in one file."""
    from outctl.stages.aggregate_model import aggregate_model as gather

    layout = layout_of(results_dir, config)
    gather(spec_of(spec, config, "aggregate-model", model), layout, layout.model_results(model))


@app.command(rich_help_panel=STEPS)
def aggregate(spec: SpecFile = None, results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Combine the results of all models: one JSON file and the tables."""
    from outctl.stages.aggregate import aggregate as combine

    combine(spec_of(spec, config, "aggregate"), layout_of(results_dir, config))


@app.command(rich_help_panel=STEPS)
def figures(
    spec: SpecFile = None,
    results_dir: ResultsDir = None,
    from_csv: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--from-csv", help="Draw from the numbers in this directory, `{figure}.csv`, and read nothing else."
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", help="With --from-csv: where the figures go; beside the numbers without it."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="With --from-csv: svg, pdf or png.")] = "svg",
    width: Annotated[float, typer.Option(help="With --from-csv: width in inches.", min=2, max=50)] = 7.0,
    font_size: Annotated[float, typer.Option(help="With --from-csv: size of the font in points.", min=4, max=30)] = 8.0,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Draw the figures, and write the numbers that they show beside them.

    Example: [bold]outctl figures --from-csv results/figures --output paper --format pdf --width 3.4 --font-size 7[/bold]
    """
    from outctl.stages.figures import Drawing, Format, draw_figures, draw_from_tables

    if from_csv is None:
        if output is not None or (format_, width, font_size) != ("svg", 7.0, 8.0):
            raise OutctlError("--output, --format, --width and --font-size go with --from-csv")
        draw_figures(spec_of(spec, config, "figures"), layout_of(results_dir, config))
        return
    formats = {name: name for name in get_args(Format)}
    known("format", format_, list(formats))
    for file in draw_from_tables(from_csv, output or from_csv, Drawing(formats[format_], width, font_size)):
        print(file)


@app.command(rich_help_panel=STEPS)
def report(
    spec: SpecFile = None, results_dir: ResultsDir = None, models_dir: ModelsDir = None, config: Config = DEFAULT_CONFIG
) -> None:
    """Write the report: one HTML file with the answer, the figures and every sample."""
    from outctl.stages.report import write_report

    if results_dir is None or models_dir is None:
        planned = plan_of(config).layout
        results_dir, models_dir = results_dir or planned.results, models_dir or planned.models
    write_report(spec_of(spec, config, "report"), Layout(results_dir, models_dir))


@app.command(rich_help_panel=STEPS)
def summary(results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Show the results of the last run as a table, and where its files are."""
    from outctl.results.console import print_summary

    print_summary(layout_of(results_dir, config), console())
