"""The command line: one subcommand per rule of the workflow, and four for a person."""

import io
import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from outctl.checkpoints import end_at_once
from outctl.config import BASELINE
from outctl.config_files import nearest, read_yaml
from outctl.errors import OutctlError, ending_in_one_line
from outctl.layout import Layout
from outctl.plan import SPLITS, Plan, load_plan
from outctl.runs import PLAN_VARIABLE, evaluations_of_this_run
from outctl.specs import Spec, read_spec
from outctl.staleness import check_unchanged

if TYPE_CHECKING:
    from outctl.evaluation.evaluate import EvaluationJob

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Can a language model control its own output distribution? Measure it, train it, compare.\n\n"
    "The whole pipeline runs with [bold]snakemake --cores all --resources gpu=1[/bold]; the commands below are its steps, "
    "each usable by hand, and four for a look at a model.",
)
STEPS = "Steps of the pipeline"
PERSON = "For a person"

Config = Annotated[Path, typer.Option("--config", help="The experiment's configuration.", show_default=True)]
SpecFile = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads this annotation at run time
    typer.Option("--spec", help="The job's specification, as the workflow writes it; made from --config without it."),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", help="Where to write; without it, where the workflow would."),
]
ModelDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--model-dir", help="The prepared model; without it, where the workflow keeps it."),
]
Checkpoints = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--checkpoints", help="Where what is done so far is kept; without it, where the workflow keeps it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("config/config.yaml")


def _plan(config: Path) -> Plan:
    return load_plan(read_yaml(config), [config])


def _known(kind: str, name: str, valid: list[str]) -> None:
    if name not in valid:
        raise OutctlError(f"there is no {kind} {name!r}; {nearest(name, valid)}")


def _spec(spec: Path | None, config: Path, stage: str, *names: str) -> Spec:
    if spec is None:
        return _plan(config).spec(stage, *names)
    found = read_spec(spec, stage)
    check_unchanged(found)
    return found


def _console() -> Console:
    """Standard output; where it is no terminal, wide enough for the tables. Brackets in names and words are no markup."""
    return Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False)


def _progress() -> Progress:
    """A progress bar on the terminal's error stream; silent where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


@app.callback()
def _offline(context: typer.Context) -> None:
    # Everything but fetching reads what was fetched; libraries must not ask the hub for anything.
    if context.invoked_subcommand != "fetch-model":
        os.environ["HF_HUB_OFFLINE"] = "1"


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
        plan = _plan(config)
        _known("model", model, list(plan.registry.models))
        output = output or plan.layout.model(model)
    prepare_model(_spec(spec, config, "fetch-model", model), model, output)


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

    _known("split", split, list(SPLITS))
    if spec is None or output is None:
        plan = _plan(config)
        _known("case", case, plan.cases)
        output = output or plan.layout.samples(case, split)
    make(_spec(spec, config, "make-samples", case, split), output)


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
        plan = _plan(config)
        _known("model", model, plan.models)
        _known("adapter", adapter, list(plan.experiment.adapters))
        model_dir = model_dir or plan.layout.model(model)
        samples = samples or plan.training_files(adapter)
        output = output or plan.layout.adapter(model, adapter)
        checkpoints = checkpoints or plan.layout.checkpoints()
    train_adapter(_spec(spec, config, "finetune", model, adapter), model_dir, samples, output, checkpoints)


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
            _spec(spec, config, "evaluate", model, variant, case), model_dir, samples, adapter_dir, output, checkpoints
        )
    else:
        plan = _plan(config)
        _known("model", model, plan.models)
        _known("variant", variant, plan.variants)
        _known("case", case, plan.cases)
        planned = _evaluation(plan, _spec(spec, config, "evaluate", model, variant, case), model, variant, case)
        job = EvaluationJob(
            planned.spec,
            model_dir or planned.model_dir,
            samples or planned.samples,
            adapter_dir or planned.adapter,
            output or planned.output,
            checkpoints or planned.checkpoints,
        )
    with _progress() as progress:
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


ResultsDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--results-dir", help="Directory of the results; without it, results_dir of the configuration."),
]


def _layout(results_dir: Path | None, config: Path) -> Layout:
    return Layout(results_dir, Path()) if results_dir else _plan(config).layout


@app.command("aggregate-model", rich_help_panel=STEPS)
def aggregate_model(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    spec: SpecFile = None,
    results_dir: ResultsDir = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Gather the summary and the records of one model in one file."""
    from outctl.results.model_results import aggregate_model as gather

    layout = _layout(results_dir, config)
    gather(_spec(spec, config, "aggregate-model", model), layout, layout.model_results(model))


@app.command(rich_help_panel=STEPS)
def aggregate(spec: SpecFile = None, results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Combine the results of all models: one JSON file and two tables."""
    from outctl.results.aggregation import aggregate as combine

    combine(_spec(spec, config, "aggregate"), _layout(results_dir, config))


@app.command(rich_help_panel=STEPS)
def figures(spec: SpecFile = None, results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Draw the figures."""
    from outctl.results.figures import draw_figures

    draw_figures(_spec(spec, config, "figures"), _layout(results_dir, config))


@app.command(rich_help_panel=STEPS)
def summary(results_dir: ResultsDir = None, config: Config = DEFAULT_CONFIG) -> None:
    """Show the results of the last run as a table, and where its files are."""
    from outctl.results.console import print_summary

    print_summary(_layout(results_dir, config), _console())


@app.command(rich_help_panel=PERSON)
def why(
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="An output, or a step such as evaluate/MODEL/VARIANT/CASE; every stale step without it."),
    ] = None,
    environments: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Directory of the environments, where Snakemake makes them; what is installed here without it."
        ),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Say why a step is stale, that is, why the next run makes it again.

    Example: [bold]outctl why results/output_control_results.csv[/bold]
    """
    from outctl.environments import pinned_versions
    from outctl.staleness import explain, job_of, stale_jobs

    plan = load_plan(read_yaml(config), [config], pinned_versions(environments) if environments else None)
    plan.inspect()
    found = explain(plan, job_of(plan, target)) if target else stale_jobs(plan)
    if not found:
        print(f"{target or 'everything'} is up to date")
    for job, lines in found.items():
        for line in lines or ["it reads what stale steps make"]:
            print(f"{'/'.join(job)}: {line}")


@app.command(rich_help_panel=PERSON)
def models(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the models of the registry: parameters, precision, memory, and whether they are fetched."""
    from outctl.models.estimates import weights_mb
    from outctl.results.console import fetched_models, models_table

    plan = _plan(config)
    fetched = fetched_models(plan.registry, plan.experiment)
    if not as_json:
        _console().print(models_table(plan.registry, fetched))
        return
    rows = {
        name: {**entry.model_dump(mode="json"), "weights_mb": weights_mb(entry), "fetched": fetched[name]}
        for name, entry in plan.registry.models.items()
    }
    print(json.dumps(rows, indent=2))


Adapter = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--adapter", help="Directory of an adapter to ask with."),
]
ModelArgument = Annotated[str, typer.Argument(help="Name of a fetched model of the registry.")]
PromptArgument = Annotated[str, typer.Argument(help="What the user asks; the model's next word is its answer.")]


def _load(model: str, adapter: Path | None, config: Path) -> Any:
    from outctl.inference.tree_forward import enable_trees
    from outctl.models.loading import load_model

    plan = _plan(config)
    _known("model", model, list(plan.registry.models))
    entry = plan.registry.models[model]
    if not (plan.layout.model(model) / "provenance.json").is_file():
        raise OutctlError(f"model {model} is not fetched; run `outctl fetch-model {model}` first")
    loaded = load_model(plan.layout.model(model), entry.precision, entry.chat, adapter)
    enable_trees(loaded.model)
    return loaded


@app.command(rich_help_panel=PERSON)
def probs(
    model: ModelArgument,
    prompt: PromptArgument,
    words: Annotated[list[str], typer.Option("--words", help="The words; several may follow: --words ark atom.")],
    adapter: Adapter = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Exact probabilities that the model's answer is each word.

    Example: [bold]outctl probs smollm2-135m-instruct "Say one word: 70% ark, 30% atom" --words ark atom[/bold]
    """
    from outctl.evaluation.questions import ask_words
    from outctl.results.console import answers_table

    answers = ask_words(_load(model, adapter, config), prompt, words)
    if as_json:
        print(json.dumps(answers, ensure_ascii=False))
    else:
        _console().print(answers_table({**answers, "(anything else)": 1.0 - sum(answers.values())}))


@app.command(rich_help_panel=PERSON)
def generate(
    model: ModelArgument,
    prompt: PromptArgument,
    adapter: Adapter = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answer at most, in tokens.", min=1)] = 50,
    temperature: Annotated[
        float, typer.Option(help="0 is greedy; 1 samples the model's own distribution.", min=0)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.", min=0)] = 0,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let the model answer in text.

    Example: [bold]outctl generate smollm2-135m-instruct "Say one word: 70% ark, 30% atom" --temperature 1[/bold]
    """
    from outctl.inference.generation import generate as continue_text
    from outctl.inference.prompts import build_prompts

    loaded = _load(model, adapter, config)
    prompts = build_prompts(loaded.tokenizer, [[{"role": "user", "content": prompt}]], loaded.chat)
    (text,) = continue_text(loaded.model, loaded.tokenizer, prompts, max_new_tokens, temperature, seed)
    print(json.dumps({"text": text}, ensure_ascii=False) if as_json else text)


@app.command("run-experiment", rich_help_panel=PERSON)
def run_experiment(
    models: Annotated[list[str], typer.Option("--models", help="Models; several may follow: --models A B.")],
    num_examples: Annotated[int, typer.Option("--num-examples", help="Samples of each case.", min=1)] = 20,
    lora_adapter: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--lora-adapter", help="Directory of an adapter to compare with the baseline."),
    ] = None,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """All cases of the configuration, scored in this process, without the workflow.

    Example: [bold]outctl run-experiment --models smollm2-135m-instruct --num-examples 20[/bold]
    """
    from outctl.results.console import summary_table
    from outctl.results.direct import run_directly

    plan = _plan(config)
    for model in models:
        _known("model", model, list(plan.registry.models))
    with _progress() as progress:
        task = progress.add_task("loading", total=None)

        def report(text: str, done: int, total: int) -> None:
            progress.update(task, description=text, completed=done, total=total)

        table = run_directly(plan, models, num_examples, lora_adapter, report)
    if as_json:
        print(table.to_json(orient="records", indent=2))
    else:
        _console().print(summary_table(table, f"{num_examples} samples a case"))


MANY = {"--words", "--models"}
"""Options that several values may follow, as in `--words ark atom`."""


def spread(arguments: list[str]) -> list[str]:
    """Repeat an option of `MANY` in front of each value that follows it, which is how the parser takes several."""
    result: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in MANY else ""
            if not option:
                result.append(argument)
        elif option:
            result += [option, argument]
        else:
            result.append(argument)
    return result


def _quiet() -> None:
    """Keep libraries from talking over the program."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    # PEFT asks a question that this version of transformers has renamed.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A log file shows how far a job is while it runs.
        sys.stdout.reconfigure(line_buffering=True)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line and exit code 1."""
    _quiet()
    signal.signal(signal.SIGTERM, end_at_once)
    with ending_in_one_line():
        app(args=spread(sys.argv[1:]))
