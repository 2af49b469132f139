"""What a run shows: in a pipe, on a terminal, without colours, and when a job fails."""

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

import pytest
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


def first_log(workspace: Workspace) -> Path:
    """Snakemake's own log of the run; later ones are of dry runs. Their names begin with the time."""
    return min((workspace.folder / ".snakemake" / "log").glob("*.snakemake.log"))


def test_a_pipe_gets_a_line_for_each_beginning_and_end(finished: tuple[Workspace, Run]) -> None:
    _, run = finished
    assert not CONTROL.search(run.output), run.output
    said = SAID.findall(run.output)
    doing = [text for kind, text in said if kind == "begun"]
    assert sorted(doing) == sorted(text for kind, text in said if kind == "done")
    assert sorted(doing) == [
        "combining the results of all models",
        "drawing eval samples of given",
        "drawing eval samples of own",
        "drawing the figures",
        "drawing train samples of given",
        "evaluating tiny baseline on given",
        "evaluating tiny baseline on own",
        "evaluating tiny tuned on given",
        "evaluating tiny tuned on own",
        "fetching model tiny",
        "gathering the results of tiny",
        "training tuned for tiny",
        "writing the report",
    ]
    assert "13 jobs: " in run.output
    assert re.findall(r"; (\d+) of 13 jobs", run.output) == [str(number) for number in range(1, 14)]


def test_nothing_is_said_of_the_time_of_jobs_that_never_ran(finished: tuple[Workspace, Run]) -> None:
    workspace, run = finished
    assert "by earlier runs" not in run.output
    log = first_log(workspace)
    # Fetching, the training and four evaluations may take long; the others take seconds, and `all` nothing.
    assert "how long they take is known of 8 of 14 jobs" in log.read_text()


def test_the_summary_comes_behind_the_last_job(finished: tuple[Workspace, Run]) -> None:
    _, run = finished
    assert run.output.index("13 of 13 jobs") < run.output.index("Baseline against adapter")


def test_snakemakes_own_log_keeps_what_the_display_leaves_out(finished: tuple[Workspace, Run]) -> None:
    workspace, run = finished
    log = first_log(workspace)
    text = log.read_text()
    assert "Reason: Missing output files" in text
    assert "Finished jobid: 1 " in text
    assert "Reason:" not in run.output
    assert log.name in run.output


def test_logs_say_how_far_a_job_is(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    logs = workspace.results / "logs"
    assert re.search(r"^\d+ of 12 steps$", (logs / "finetune" / "tiny" / "tuned.log").read_text(), re.MULTILINE)
    # A variant's cases may all be done by the job of one of them; that job's log counts the samples.
    evaluations = [log.read_text() for log in (logs / "evaluate" / "tiny" / "baseline").iterdir()]
    assert any(re.search(r"^\d+ of (2|12) samples$", text, re.MULTILINE) for text in evaluations)


@pytest.mark.slow
def test_a_dry_run_tells_snakemakes_plan(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    run = workspace.snakemake("--dry-run", "--forcerun", "evaluate")
    assert "Job stats:" in run.output
    assert "Reason: Forced execution" in run.output
    assert "evaluating tiny tuned on given" in run.output
    assert not SAID.search(run.output)


@pytest.mark.slow
def test_a_terminal_shows_what_runs_and_is_given_back(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    run = on_terminal(workspace, SAMPLES, "--forcerun", SAMPLES)
    assert run.code == 0, run.output
    assert "0 of 1 jobs done" in run.output
    assert re.search(r"\d\d:\d\d:\d\d done +drawing eval samples of given \(", run.output)
    # The bar goes when the last job is done, and the cursor comes back.
    assert run.output.rindex("\x1b[?25h") > run.output.rindex("\x1b[?25l") > 0
    assert "jobs done" not in run.output[run.output.rindex("\x1b[?25h") :]


@pytest.mark.slow
def test_a_terminal_without_colours_gets_plain_lines(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    run = on_terminal(workspace, SAMPLES, "--forcerun", SAMPLES, NO_COLOR="1")
    assert run.code == 0, run.output
    shown = run.output.replace("\r\n", "\n")
    assert not CONTROL.search(shown), shown
    assert [kind for kind, _ in SAID.findall(shown)] == ["begun", "done"]


@pytest.mark.slow
def test_quiet_is_quiet(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
    run = workspace.snakemake(SAMPLES, "--forcerun", SAMPLES, "--quiet", "all", "--no-hooks")
    assert run.code == 0, run.output
    assert [line for line in run.output.splitlines() if not line.startswith("Using workflow specific profile")] == []


@pytest.mark.slow
def test_a_failed_job_shows_its_last_lines_and_the_command_that_makes_it_alone(finished: tuple[Workspace, Run]) -> None:
    workspace, _ = finished
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
