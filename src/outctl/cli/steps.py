"""The steps of the pipeline: a command a stage, whose flags are what the stage runs on."""

from collections.abc import Mapping
from contextlib import nullcontext
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from outctl.cli.app import (
    DEFAULT_CONFIG,
    STEPS,
    Config,
    ResultsDir,
    app,
    console,
    known,
    layout_of,
    plan_of,
    shown_progress,
)
from outctl.config.running import Service
from outctl.errors import OutctlError
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.specs import read_spec
from outctl.pipeline.stage import Stage
from outctl.pipeline.staleness import check_unchanged
from outctl.stages.dag import STAGES, jobs_beside, plan_of_this_run

ARGUMENTS = {
    "model": "Name of the model.",
    "adapter": "Name of the adapter in the configuration.",
    "variant": "baseline, or the name of an adapter.",
    "case": "Name of the case in the configuration.",
    "split": "train or eval.",
}
"""What jobs are for."""
FLAGS = {
    "spec": "The job's specification, as the workflow writes it; default: made from --config.",
    "model_dir": "The prepared model; default: the workflow's path.",
    "samples": "The samples' file; default: the workflow's path.",
    "adapter_dir": "The adapter's directory; default: the workflow's path.",
    "temperature": "File with the temperature to ask at, for the variant of that name.",
    "reference_dir": "The reference model, prepared, where the configuration names one.",
    "output": "Where to write; default: the workflow's path.",
    "checkpoints": "Directory of the checkpoints, from which an interrupted job goes on; default: the workflow's path.",
    "tensorboard": "Directory of its event files; default: the workflow's path.",
    "tracking": "Where services keep their files; default: the workflow's path.",
    "report_to": "A service to report to as well: mlflow, trackio or wandb; repeat for several.",
    "project": "What services call the experiment; default: as configured.",
    "results_dir": "Directory of the results; default: results_dir of the configuration.",
    "models_dir": "Directory of the prepared models; default: models_dir of the configuration.",
}
"""What they can be given."""
SEVERAL = {"samples": "Training samples of a case of the recipe; repeat in the order of the names."}
"""What they can be given several of, where it is called as what others are given one of."""


def run_stage(stage: Stage, names: tuple[str, ...], spec: Path | None, config: Path, given: Mapping[str, Any]) -> None:
    """Do a job, everything that is not given being where the workflow keeps it.

    Args:
        stage: its stage.
        names: what it is for.
        spec: its specification's file; made from the configuration if None.
        config: the configuration.
        given: what else the job takes.

    Raises:
        OutctlError: there is no specification, and the configuration does not ask for the stage or does not know a name.
    """
    found, plan = None, None
    if spec is None:
        plan = plan_of(config)
        _check_asked_for(plan, stage, names)
        found = plan.spec(stage.name, *names)
    else:
        found = read_spec(spec, stage.name)
        check_unchanged(found, stage)
    if not stage.files(Layout(Path(), Path()), found.settings, names).keys() <= given.keys():
        plan = plan or plan_of(config)
        given = {**stage.files(plan.layout, found.settings, names), **stage.others(plan.experiment), **given}
    for service in given.get("report_to", []):
        known("service", service, list(get_args(Service)))
    # A job that is given all that it needs reads the plan only if it asks for it.
    others = {"spec": found, "stages": STAGES, "plan": lambda: plan or plan_of_this_run()}
    arguments = {**dict(zip(stage.wildcards, names, strict=True)), **given, **others}
    with shown_progress(" ".join(names), stage.unit) if stage.unit else nullcontext() as progress:
        stage.start(arguments, progress, jobs_beside((stage.name, *names)))


def _check_asked_for(plan: Plan, stage: Stage, names: tuple[str, ...]) -> None:
    if not plan.has(stage):
        raise OutctlError(f"the configuration has no section {stage.section}; without it there is nothing to do here")
    choices = stage.choices(plan)
    for wildcard, name in zip(stage.wildcards, names, strict=True):
        known(wildcard, name, choices[wildcard])
    models = plan.models_of.get(names[1], []) if len(names) > 1 else []
    if models and names[0] not in models:
        raise OutctlError(f"adapters.{names[1]} is for {', '.join(models)}, not for {names[0]}")


def _add_command(stage: Stage) -> None:
    """Give a stage its command."""

    def command(**values: Any) -> None:
        names = tuple(values.pop(name) for name in stage.wildcards)
        spec, config = values.pop("spec"), values.pop("config")
        run_stage(stage, names, spec, config, {name: value for name, value in values.items() if value})

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=_argument(name)) for name in stage.wildcards]
    parameters += _flags(stage)
    parameters.append(Parameter("config", Parameter.KEYWORD_ONLY, annotation=Config, default=DEFAULT_CONFIG))
    # What the parser reads of a function.
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(stage.name, help=stage.__doc__, rich_help_panel=STEPS)(command)


def _argument(name: str) -> Any:
    return Annotated[str, typer.Argument(help=ARGUMENTS[name])]


def _flags(stage: Stage) -> list[Parameter]:
    hints = get_type_hints(stage.entry)
    flags = []
    for name in ("spec", *(name for name in stage.parameters if name in FLAGS and name != "spec")):
        kinds = [Path] if name == "spec" else [part for part in _parts(hints[name]) if part is not type(None)]
        text = SEVERAL.get(name, FLAGS[name]) if kinds == [list[Path]] else FLAGS[name]
        option = typer.Option(f"--{name.replace('_', '-')}", help=text)
        annotation = Annotated[kinds[0] | None, option]  # type: ignore[valid-type]
        flags.append(Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=None))
    return flags


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type."""
    return (hint,) if hint in (Path, str) or getattr(hint, "__origin__", None) is list else get_args(hint)


for _stage in STAGES.values():
    if _stage.name != "figures":
        _add_command(_stage)


@app.command(rich_help_panel=STEPS)
def figures(
    spec: Annotated[Path | None, typer.Option("--spec", help=FLAGS["spec"])] = None,
    results_dir: ResultsDir = None,
    from_csv: Annotated[
        Path | None,
        typer.Option(
            "--from-csv", help="Draw from the numbers in this directory, `{figure}.csv`, and read nothing else."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="With --from-csv: where the figures go; default: beside the numbers."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="With --from-csv: svg, pdf or png.")] = "svg",
    width: Annotated[float, typer.Option(help="With --from-csv: width in inches.", min=2, max=50)] = 7.0,
    font_size: Annotated[float, typer.Option(help="With --from-csv: size of the font in points.", min=4, max=30)] = 8.0,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Draw the figures, and write the numbers that they show beside them.

    Example: [bold]outctl figures --from-csv results/figures --output paper --format pdf --width 3.4 --font-size 7[/bold]
    """
    if from_csv is None:
        if output is not None or (format_, width, font_size) != ("svg", 7.0, 8.0):
            raise OutctlError("--output, --format, --width and --font-size go with --from-csv")
        run_stage(STAGES["figures"], (), spec, config, {"results_dir": results_dir} if results_dir else {})
        return
    from outctl.report.drawing import Drawing, Format
    from outctl.report.figure_files import draw_from_tables

    formats = {name: name for name in get_args(Format)}
    known("format", format_, list(formats))
    for file in draw_from_tables(from_csv, output or from_csv, Drawing(formats[format_], width, font_size)):
        print(file)


@app.command(rich_help_panel=STEPS)
def summary(results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Show the results of the last run as a table, and where its files are."""
    from outctl.results.console import print_summary

    layout = layout_of(results_dir, config)
    files = {
        layout.report(): "the report: all of it in one page for a browser",
        layout.results_table(): "a row a model and variant",
        layout.case_table(): "a row a model, variant and case",
        layout.combined(): "summaries, comparisons, provenance",
        layout.figure("calibration"): "asked share against given share",
        layout.figure("tvd"): "distances with intervals",
    }
    print_summary(console(), layout.case_table(), files)
