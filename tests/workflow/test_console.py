"""What a run shows: in a pipe, on a terminal, without colours, and when a job fails."""

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from workspace import Run, Workspace

ADAPTER = "results/adapters/tiny/tuned/provenance.json"
SAMPLES = "results/samples/given/eval.provenance.json"
SAID = re.compile(r"^\d\d:\d\d:\d\d (begun|done|failed) +(.*?)(?: \(.*)?$", re.MULTILINE)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
"""Control characters but the line feed."""


def on_terminal(workspace: Workspace, *arguments: str, **environment: str) -> Run:
    """Run the workflow on a terminal of its own."""
    primary, secondary = pty.openpty()
    inherited = {name: value for name, value in workspace.environment.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        workspace.command(*arguments),
        cwd=workspace.folder,
        env=inherited | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | environment,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    shown = bytearray()
    while True:
        try:
            shown += os.read(primary, 65536)
        except OSError:
            # How Linux says that nobody holds the other end any more.
            break
    os.close(primary)
    return Run(process.wait(), shown.decode())


@pytest.fixture(scope="module")
def in_pipe(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> tuple[Workspace, Run]:
    """A small experiment, and what its run from nothing to its tables wrote into a pipe."""
    folder = tmp_path_factory.mktemp("console")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    registry = {"models": {"tiny": {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}}}
    (folder / "models.yaml").write_text(yaml.safe_dump(registry))
    recipe = {"cases": {"given": 24}, "steps": 12, "batch_size": 4, "held_out_samples": 2, "log_every": 4}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {"given": {"kind": "given_words", "train_samples": 24, "eval_samples": 12}},
        "adapters": {"tuned": recipe},
        "resources": {"gpu": 0, "threads": 1},
    }
    workspace = Workspace(folder, config)
    run = workspace.snakemake()
    assert run.code == 0, run.output
    return workspace, run


def test_a_pipe_gets_a_line_for_each_beginning_and_end(in_pipe: tuple[Workspace, Run]) -> None:
    _, run = in_pipe
    assert not CONTROL.search(run.output), run.output
    said = SAID.findall(run.output)
    doing = [text for kind, text in said if kind == "begun"]
    assert sorted(doing) == sorted(text for kind, text in said if kind == "done")
    assert sorted(doing) == [
        "combining the results of all models",
        "drawing eval samples of given",
        "drawing the figures",
        "drawing train samples of given",
        "evaluating tiny baseline on given",
        "evaluating tiny tuned on given",
        "fetching model tiny",
        "gathering the results of tiny",
        "training tuned for tiny",
        "writing the report",
    ]
    assert "10 jobs: " in run.output
    assert re.findall(r"; (\d+) of 10 jobs", run.output) == [str(number) for number in range(1, 11)]


def test_nothing_is_said_of_the_time_of_jobs_that_never_ran(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, run = in_pipe
    assert "by earlier runs" not in run.output
    (log,) = (workspace.folder / ".snakemake" / "log").glob("*.snakemake.log")
    # Fetching, the training and two evaluations may take long; the others take seconds, and `all` nothing.
    assert "how long they take is known of 7 of 11 jobs" in log.read_text()


def test_the_summary_comes_behind_the_last_job(in_pipe: tuple[Workspace, Run]) -> None:
    _, run = in_pipe
    assert run.output.index("10 of 10 jobs") < run.output.index("Baseline against adapter")


def test_snakemakes_own_log_keeps_what_the_display_leaves_out(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, run = in_pipe
    (log,) = (workspace.folder / ".snakemake" / "log").glob("*.snakemake.log")
    text = log.read_text()
    assert "Reason: Missing output files" in text
    assert "Finished jobid: 1 " in text
    assert "Reason:" not in run.output
    assert str(log) in run.output


def test_logs_say_how_far_a_job_is(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    logs = workspace.results / "logs"
    assert re.search(r"^\d+ of 12 steps$", (logs / "finetune" / "tiny" / "tuned.log").read_text(), re.MULTILINE)
    records = (logs / "evaluate" / "tiny" / "baseline" / "given.log").read_text()
    assert re.search(r"^\d+ of 12 samples$", records, re.MULTILINE)


def test_a_dry_run_tells_snakemakes_plan(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    run = workspace.snakemake("--dry-run", "--forcerun", "evaluate")
    assert "Job stats:" in run.output
    assert "Reason: Forced execution" in run.output
    assert "evaluating tiny tuned on given" in run.output
    assert not SAID.search(run.output)


def test_a_terminal_shows_what_runs_and_is_given_back(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    run = on_terminal(workspace, SAMPLES, "--forcerun", SAMPLES)
    assert run.code == 0, run.output
    assert "0 of 1 jobs done" in run.output
    assert re.search(r"\d\d:\d\d:\d\d done +drawing eval samples of given \(", run.output)
    # The bar goes when the last job is done, and the cursor comes back.
    assert run.output.rindex("\x1b[?25h") > run.output.rindex("\x1b[?25l") > 0
    assert "jobs done" not in run.output[run.output.rindex("\x1b[?25h") :]


def test_a_terminal_without_colours_gets_plain_lines(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    run = on_terminal(workspace, SAMPLES, "--forcerun", SAMPLES, NO_COLOR="1")
    assert run.code == 0, run.output
    shown = run.output.replace("\r\n", "\n")
    assert not CONTROL.search(shown), shown
    assert [kind for kind, _ in SAID.findall(shown)] == ["begun", "done"]


def test_quiet_is_quiet(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    run = workspace.snakemake(SAMPLES, "--forcerun", SAMPLES, "--quiet", "all", "--no-hooks")
    assert run.code == 0, run.output
    assert [line for line in run.output.splitlines() if not line.startswith("Using workflow specific profile")] == []


def test_a_failed_job_shows_its_last_lines_and_the_command_that_makes_it_alone(in_pipe: tuple[Workspace, Run]) -> None:
    workspace, _ = in_pipe
    recipe = workspace.config["adapters"]["tuned"] | {"target_modules": ["nothing"]}
    target = "results/figures/figures.provenance.json"
    run = workspace.snakemake(target, "--keep-going", "--config", "seed=0", adapters={"tuned": recipe})
    assert run.code != 0
    assert not CONTROL.search(run.output), run.output
    log = "results/logs/finetune/tiny/tuned.log"
    assert f"    last lines of {log}:\n      outctl: target_modules: the model has no 'nothing'" in run.output
    assert ("failed", "training tuned for tiny") in SAID.findall(run.output)
    # The training and the evaluations have run before.
    assert re.search(r"^by earlier runs about \d", run.output, re.MULTILINE)
    (command,) = re.findall(r"this job alone again: (.*)", run.output)
    arguments = shlex.split(command)
    assert arguments[:2] == ["snakemake", ADAPTER]
    assert target not in arguments
    assert arguments[-3:] == ["--keep-going", "--config", "seed=0"]
    # The recipe is mended where it stands.
    workspace.command()
    mended = subprocess.run(
        arguments,
        cwd=workspace.folder,
        env=workspace.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert mended.returncode == 0, mended.stdout
    assert (workspace.folder / ADAPTER).is_file()
    assert [text for kind, text in SAID.findall(mended.stdout) if kind == "done"] == ["training tuned for tiny"]
