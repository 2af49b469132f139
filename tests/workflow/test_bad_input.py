"""The whole program on bad input: it ends with one line, and no name reaches a shell unquoted."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import ROOT, Run

from outctl.config.names import RESULT_FOLDERS
from outctl.pipeline.workflow import FOLDER
from outctl.stages.dag import STAGES

MODEL = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 1000}
CONFIG: dict[str, Any] = {
    "models": ["small"],
    "registry": "models.yaml",
    "models_dir": "models",
    "cases": {"own": {"kind": "random_words", "eval_samples": 2}},
}
TEXT = yaml.safe_dump(CONFIG)
BOMB = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))])
# A shell that takes any of this for its own language leaves a file called `pwned`.
NASTY = """-x $(touch pwned) `touch pwned`; touch pwned & 'a' "b" \\ * ~ é"""
SHELL_COMMANDS = re.compile(r"""^    shell:\n((?:^        "[^\n]*"\n)+)|\bshell\((f?"[^"\n]*")\)""", re.MULTILINE)
RULES = sorted([ROOT / "Snakefile", FOLDER / "Snakefile", *(FOLDER / "rules").glob("*.smk")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a valid configuration and registry, alone in its parent."""
    directory = tmp_path / "inside"
    directory.mkdir()
    (directory / "config").mkdir()
    (directory / "config" / "config.yaml").write_text(TEXT.replace("models.yaml", "../models.yaml"))
    (directory / "models.yaml").write_text(yaml.safe_dump({"models": {"small": MODEL}}))
    return directory


def run(folder: Path, *command: str) -> Run:
    """Run a module of Python in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Run(result.returncode, result.stdout)


def snakemake(folder: Path, *arguments: str) -> Run:
    return run(folder, "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", *arguments)


def assert_refused(result: Run, start: str) -> None:
    """The program said one line of its own, and what Snakemake says of its profile and `--config` stands before it."""
    assert result.code != 0
    assert "Traceback" not in result.output
    lines = [
        line
        for line in result.output.splitlines()
        if not line.startswith(("Using workflow specific profile", "Config file"))
    ]
    assert len(lines) == 1, result.output
    assert lines[0].startswith(f"outctl: {start}"), lines[0]


def as_config_file(text: str | bytes, start: str) -> Callable[[Path], tuple[list[str], str]]:
    """An experiment of its own, given by `--configfile`."""

    def prepare(folder: Path) -> tuple[list[str], str]:
        file = folder / "bad.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["--configfile", "bad.yaml"], f"{file}: {start}"

    return prepare


def as_default(text: str | bytes, start: str) -> Callable[[Path], tuple[list[str], str]]:
    """The default experiment, which the workflow reads by itself."""

    def prepare(folder: Path) -> tuple[list[str], str]:
        (folder / "config" / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return [], f"config/config.yaml: {start}"

    return prepare


def as_argument(argument: str, start: str) -> Callable[[Path], tuple[list[str], str]]:
    """One key, given by `--config`."""
    return lambda folder: (["--config", argument], start)


@pytest.mark.parametrize(
    "prepare",
    [
        as_config_file(f"{TEXT}\nmodels: [small]", "line 10, column 1: not valid YAML: models is given twice"),
        *(
            pytest.param(*others, marks=pytest.mark.slow)
            for others in (
                [as_argument("registry=config", "--config: registry: there is no file 'config'")],
                [as_config_file(f"{TEXT}\n{BOMB}", "line 15, column 5: not valid YAML: a5 holds more than")],
                [as_config_file(TEXT.replace("own:", "../../own:"), "cases.../../own: '../../own' cannot be a name")],
                [as_default("models: [small", "line 1, column 15: not valid YAML")],
                [as_default(b"\xff\xfe\x00", "cannot be read")],
                [as_default("", "a configuration consists of keys")],
                [as_argument("results_dir=a{model}", "--config: results_dir: 'a{model}' cannot be written to")],
                [as_argument("results_dir=config/config.yaml", "config/config.yaml/specs/")],
            )
        ),
    ],
    ids=["twice", "registry", "bomb", "traversal", "broken default", "binary", "empty", "braces", "a file"],
)
def test_the_workflow_ends_with_one_line(folder: Path, prepare: Callable[[Path], tuple[list[str], str]]) -> None:
    arguments, start = prepare(folder)
    assert_refused(snakemake(folder, "--dry-run", *arguments), start)
    assert [path.name for path in folder.parent.iterdir()] == ["inside"]
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("command", "start"),
    [
        ("models --config .", ".: cannot be read"),
        (
            "make-samples own eval --config bomb.yaml",
            "bomb.yaml: line 15, column 5: not valid YAML: a5 holds more than",
        ),
        ("make-samples own eval --output models.yaml/eval.jsonl", "models.yaml/eval.jsonl: cannot be written"),
        ("make-samples ../own eval", "there is no case '../own'; did you mean 'own'?"),
        ("make-samples own eval --spec deep.json --output eval.jsonl", "deep.json: not valid JSON"),
        ("summary --results-dir .", "output_control_simple_metrics.csv: no table of results"),
    ],
)
def test_the_command_line_ends_with_one_line(folder: Path, command: str, start: str) -> None:
    (folder / "bomb.yaml").write_text(f"{TEXT}\n{BOMB}")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "output_control_simple_metrics.csv").write_text("=1+1")
    assert_refused(run(folder, "outctl", *command.split()), start)
    assert [path.name for path in folder.parent.iterdir()] == ["inside"]


def test_brackets_in_a_table_are_no_markup(folder: Path) -> None:
    source = {"kind": "local", "path": "[/bold] :smile:"}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {"small": MODEL | {"source": source}}}))
    result = run(folder, "outctl", "models")
    assert result.code == 0, result.output
    assert "[/bold] :smile:" in result.output


def test_every_value_in_a_shell_command_is_quoted() -> None:
    for file in RULES:
        commands = ["".join(groups) for groups in SHELL_COMMANDS.findall(file.read_text())]
        assert len(commands) == len(re.findall(r"\bshell[:(]", file.read_text())), file.name
        for command in commands:
            values = re.findall(r"\{[^}]*\}", command)
            assert values, command
            assert [value for value in values if not value.endswith(":q}")] == [], file.name


def test_nothing_but_shell_commands_runs_in_a_rule() -> None:
    for file in RULES:
        assert not re.search(r"^\s+(run|script|notebook|wrapper|cwl):", file.read_text(), re.MULTILINE), file.name


def test_every_rule_with_a_command_is_measured_under_its_own_name() -> None:
    rules = [rule for file in RULES for rule in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]]
    commands = [rule for rule in rules if "shell:" in rule]
    measured = {rule.partition(":")[0]: re.findall(r'benchmark_of\("([a-z-]+)"', rule) for rule in commands}
    assert measured == {name: [name.replace("_", "-")] for name in measured}
    assert set(measured) == {stage.replace("-", "_") for stage in STAGES}


@pytest.mark.slow
def test_a_folder_in_the_language_of_the_shell_is_a_folder(folder: Path) -> None:
    (folder / "bad.yaml").write_text(yaml.safe_dump(CONFIG | {"results_dir": NASTY}))
    result = snakemake(folder, "--until", "make_samples", "--configfile", "bad.yaml")
    assert result.code == 0, result.output
    assert (folder / NASTY / "samples" / "own" / "eval.jsonl").is_file()
    assert not list(folder.parent.rglob("pwned"))
    assert {path.name for path in folder.iterdir()} <= {
        "config",
        "models.yaml",
        "bad.yaml",
        "models",
        NASTY,
        ".snakemake",
    }


def test_the_folders_that_models_stay_out_of_are_those_of_the_rules() -> None:
    logs = {name for file in RULES for name in re.findall(r'LAYOUT\.results\s*/ "(\w+)"', file.read_text())}
    layout = set(
        re.findall(r'self\.results / "(\w+)"', (ROOT / "src" / "outctl" / "pipeline" / "layout.py").read_text())
    )
    assert logs | layout == set(RESULT_FOLDERS)
