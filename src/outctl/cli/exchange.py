"""Commands for other tools: results that they read, and questions that they ask."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from outctl.cli.app import DEFAULT_CONFIG, EXCHANGE, Config, ResultsDir, app, known, layout_of, plan_of
from outctl.errors import OutctlError
from outctl.pipeline.layout import beside
from outctl.tasks.samples import read_samples

Cases = Annotated[
    list[str] | None,
    typer.Option("--cases", help="Cases; several may follow: --cases A B; default: every case of the configuration."),
]


@app.command("export-inspect", rich_help_panel=EXCHANGE)
def export_inspect(
    cases: Cases = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Directory to write below; default: inspect/ below the results.")
    ] = None,
    results_dir: ResultsDir = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the evaluations as logs of Inspect: a file a model, variant and case.

    Example: [bold]outctl export-inspect && inspect view --log-dir results/inspect[/bold]
    """
    if find_spec("inspect_ai") is None:
        raise OutctlError("Inspect is not installed; `pip install -c constraints.txt -e '.[exchange]'` installs it")
    from outctl.exchange.inspect_export import export_log

    plan, layout = plan_of(config), layout_of(results_dir, config)
    wanted = _chosen(cases, list(plan.cases))
    jobs = [(model, variant, case) for _, model, variant, case in plan.jobs("evaluate") if case in wanted]
    made = [job for job in jobs if beside(layout.records(*job)).is_file()]
    if not made:
        raise OutctlError(f"{layout.results}: none of {len(jobs)} evaluations is there; run the workflow first")
    directory = output or layout.results / "inspect"
    for model, variant, case in made:
        path = directory / model / variant / f"{case}.eval"
        export_log(layout, model, variant, case, plan.experiment.statistics, plan.experiment.seed, path)
    missing = f"; {len(jobs) - len(made)} evaluations are not made yet" if len(made) < len(jobs) else ""
    print(f"{len(made)} logs written below {directory}{missing}")


@app.command("export-lm-eval", rich_help_panel=EXCHANGE)
def export_lm_eval(
    directory: Annotated[Path, typer.Argument(help="Directory to write, for `lm_eval --include_path`.")],
    cases: Cases = None,
    results_dir: ResultsDir = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the questions as tasks of lm-evaluation-harness: a task a case, and the group outctl of them all.

    Example: [bold]outctl export-lm-eval tasks && lm_eval --include_path tasks --tasks outctl ...[/bold]
    """
    from outctl.exchange.lm_eval_export import GROUP, export_tasks

    plan, layout = plan_of(config), layout_of(results_dir, config)
    files = {case: layout.samples(case, "eval") for case in _chosen(cases, list(plan.cases))}
    for case, file in files.items():
        if not file.is_file():
            raise OutctlError(f"{file}: no such file; run `outctl make-samples {case} eval` or the workflow first")
    left_out = export_tasks({case: read_samples(file) for case, file in files.items()}, directory)
    for case, reason in left_out.items():
        print(f"left out {case}: {reason}")
    print(f"{len(files) - len(left_out)} tasks written below {directory}, all together called {GROUP}")


def _chosen(cases: list[str] | None, valid: list[str]) -> list[str]:
    for case in cases or []:
        known("case", case, valid)
    return cases or valid
