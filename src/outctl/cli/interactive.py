"""Interactive commands: a look at models, answers and what the next run would do."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from outctl.cli.app import DEFAULT_CONFIG, INTERACTIVE, AsJson, Config, app, console, known, plan_of, progress_bar
from outctl.config.reading import read_yaml
from outctl.errors import OutctlError
from outctl.pipeline.plan import Plan
from outctl.stages.dag import load_plan


@app.command(rich_help_panel=INTERACTIVE)
def why(
    target: Annotated[
        str | None,
        typer.Argument(help="An output, or a step such as evaluate/MODEL/VARIANT/CASE; default: every stale step."),
    ] = None,
    environments: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the environments, where Snakemake makes them; default: what is installed here."
        ),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Say why a step is stale, that is, why the next run makes it again.

    Example: [bold]outctl why results/output_control_results.csv[/bold]
    """
    from outctl.pipeline.environments import pinned_versions
    from outctl.pipeline.staleness import explain, job_of, stale_jobs

    plan = load_plan(read_yaml(config), [config], pinned_versions(environments) if environments else None)
    plan.inspect()
    found = explain(plan, job_of(plan, target)) if target else stale_jobs(plan)
    if not found:
        print(f"{target or 'everything'} is up to date")
    for job, lines in found.items():
        for line in lines or ["it reads what stale steps make"]:
            print(f"{'/'.join(job)}: {line}")


@app.command(rich_help_panel=INTERACTIVE)
def models(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the models of the registry: parameters, precision, memory, whether they are fetched, and their engine."""
    from outctl.machine.estimates import weights_mb
    from outctl.results.console import fetched_engines, models_table, print_table

    plan = plan_of(config)
    engines = fetched_engines(plan.registry, plan.experiment)
    entries = {name: plan.entry(name) for name in plan.registry.models}
    if not as_json:
        print_table(console(), "Models of the registry", models_table(entries, engines))
        return
    rows = {
        name: {
            **entry.model_dump(mode="json"),
            "weights_mb": weights_mb(entry),
            "fetched": engines[name] is not None,
            "engine": engines[name] or entry.engine,
        }
        for name, entry in entries.items()
    }
    print(json.dumps(rows, indent=2))


Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", help="Directory of an adapter to ask with."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Use the adapter although it names another base model.", show_default=False)
]
ModelArgument = Annotated[str, typer.Argument(help="Name of a fetched model of the registry.")]
PromptArgument = Annotated[str, typer.Argument(help="What the user asks; the model's next word is its answer.")]


def check_fetched(plan: Plan, model: str) -> None:
    """Make sure that a model is prepared.

    Raises:
        OutctlError: it is not.
    """
    if not (plan.layout.model(model) / "provenance.json").is_file():
        raise OutctlError(f"model {model} is not fetched; run `outctl fetch-model {model}` first")


def _load(model: str, adapter: Path | None, force: bool, config: Path) -> Any:
    from outctl.inference.engine_check import prepare
    from outctl.models.loading import load_model

    plan = plan_of(config)
    known("model", model, list(plan.registry.models))
    entry = plan.registry.models[model]
    check_fetched(plan, model)
    loaded = load_model(plan.layout.model(model), entry.precision, entry.chat, adapter, entry, force)
    prepare(loaded, entry.engine)
    return loaded


@app.command(rich_help_panel=INTERACTIVE)
def probs(
    model: ModelArgument,
    prompt: PromptArgument,
    words: Annotated[list[str], typer.Option("--words", help="The words; several may follow: --words ark atom.")],
    adapter: Adapter = None,
    force: Force = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Exact probabilities that the model's answer is each word.

    Example: [bold]outctl probs smollm2-135m-instruct "Say one word: 70% ark, 30% atom" --words ark atom[/bold]
    """
    from outctl.evaluation.questions import ask_words
    from outctl.results.console import answers_table, significant

    loaded = _load(model, adapter, force, config)
    answers, computed = ask_words(loaded, prompt, words), loaded.description["compute_dtype"]
    if as_json:
        rounded = {word: significant(probability, computed) for word, probability in answers.items()}
        print(json.dumps(rounded, ensure_ascii=False))
    else:
        console().print(answers_table(answers, computed))


@app.command(rich_help_panel=INTERACTIVE)
def prompt(
    model: ModelArgument,
    case: Annotated[str, typer.Argument(help="Name of the case in the configuration.")],
    sample: Annotated[int, typer.Option("--sample", help="Which evaluation sample, counted from 0.", min=0)] = 0,
    tokens: Annotated[bool, typer.Option("--tokens", help="Print tokens too: the id and text of each.")] = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print exactly what a model is asked, and the forms in which its answer counts as each word.

    Example: [bold]outctl prompt smollm2-135m-instruct given_words --sample 3 --tokens[/bold]
    """
    from outctl.evaluation.asked import as_text, asked_of
    from outctl.stages.make_samples import first_samples

    plan = plan_of(config)
    known("model", model, list(plan.registry.models))
    known("case", case, plan.cases)
    check_fetched(plan, model)
    count = plan.experiment.cases[case].eval_samples
    if sample >= count:
        raise OutctlError(f"--sample {sample}: the case {case} has {count} evaluation samples, 0 to {count - 1}")
    drawn = first_samples(plan, case, sample + 1)
    asked = asked_of(plan.layout.model(model), plan.registry.models[model], drawn[-1])
    if as_json:
        print(json.dumps(asked, ensure_ascii=False, indent=2))
    else:
        sys.stdout.write(as_text(asked, tokens))


@app.command(rich_help_panel=INTERACTIVE)
def generate(
    model: ModelArgument,
    prompt: PromptArgument,
    adapter: Adapter = None,
    force: Force = False,
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

    loaded = _load(model, adapter, force, config)
    prompts = build_prompts(loaded.tokenizer, [[{"role": "user", "content": prompt}]], loaded.chat, loaded.options)
    (text,) = continue_text(loaded.model, loaded.tokenizer, prompts, max_new_tokens, temperature, seed)
    print(json.dumps({"text": text}, ensure_ascii=False) if as_json else text)


@app.command("run-experiment", rich_help_panel=INTERACTIVE)
def run_experiment(
    models: Annotated[list[str], typer.Option("--models", help="Models; several may follow: --models A B.")],
    num_examples: Annotated[int, typer.Option("--num-examples", help="Samples of each case.", min=1)] = 20,
    lora_adapter: Annotated[
        Path | None, typer.Option("--lora-adapter", help="Directory of an adapter to compare with the baseline.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """All cases of the configuration, scored in this process, without the workflow.

    Example: [bold]outctl run-experiment --models smollm2-135m-instruct --num-examples 20[/bold]
    """
    from outctl.cli.single_process import run_in_one_process
    from outctl.results.console import print_table, summary_table

    plan = plan_of(config)
    for model in models:
        known("model", model, list(plan.registry.models))
    with progress_bar() as progress:
        task = progress.add_task("loading", total=None)

        def report(text: str, done: int, total: int) -> None:
            progress.update(task, description=text, completed=done, total=total)

        table = run_in_one_process(plan, models, num_examples, lora_adapter, report, force)
    if as_json:
        print(table.to_json(orient="records", indent=2))
    else:
        print_table(console(), f"{num_examples} samples a case", summary_table(table))


@app.command("push-adapter", rich_help_panel=INTERACTIVE)
def push_adapter(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    adapter: Annotated[str, typer.Argument(help="Name of the adapter.")],
    repo: Annotated[str, typer.Option("--repo", help="The adapter's repository on the hub, USER/NAME.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", help="The base model's repository, where the registry takes it from elsewhere."),
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="The adapter's licence, as the hub names it: apache-2.0, llama3.1.")
    ] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", help="Write what would be pushed into this new directory, and use no network."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Push a trained and measured adapter to the Hugging Face hub, with a model card that holds its scores.

    Example: [bold]outctl push-adapter smollm2-135m-instruct given-words --repo me/given-words --dry-run card[/bold]
    """
    from outctl.exchange.hub import check_access, check_repo, push_folder
    from outctl.exchange.model_card import write_hub_folder

    check_repo("--repo", repo)
    if base_model:
        check_repo("--base-model", base_model)
    if dry_run is None:
        check_access()
    plan = plan_of(config)
    known("model", model, plan.models)
    known("adapter", adapter, list(plan.recipes))
    if dry_run is not None:
        write_hub_folder(plan, model, adapter, repo, base_model, license_name, dry_run)
        print(f"{dry_run}: what would be pushed to {repo}")
        return
    with TemporaryDirectory() as folder:
        write_hub_folder(plan, model, adapter, repo, base_model, license_name, Path(folder) / "adapter")
        print(push_folder(Path(folder) / "adapter", repo, private))
