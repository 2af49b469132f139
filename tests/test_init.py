import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from outctl.cli.init import FILES, init
from outctl.config.loading import BUILT_IN, load_registry
from outctl.config.reading import read_yaml
from outctl.errors import OutctlError
from outctl.stages.dag import load_plan

ROOT = Path(__file__).parents[1]
OWN_RULE = """
rule own:
    input:
        "results/samples/other_wording/eval.jsonl",
    output:
        "own.txt",
    benchmark:
        "own.tsv"
    shell:
        "touch {output}"
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_project_is_an_experiment_that_can_be_planned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    init(Path("my project"))
    assert {str(file.relative_to("my project")) for file in Path("my project").rglob("*.*")} | {"Snakefile"} == {*FILES}
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"my project/{name}" for name in FILES]
    assert last == "next: cd 'my project' && snakemake --cores all --resources gpu=1"
    monkeypatch.chdir("my project")
    file = Path("config/config.yaml")
    plan = load_plan(read_yaml(file), [file])
    assert {job[0] for job in plan.jobs()} >= {"fetch-model", "finetune", "evaluate", "aggregate", "report"}
    assert plan.registry == load_registry(BUILT_IN)


def test_the_entry_of_the_registry_is_one_without_its_signs() -> None:
    init(Path())
    file = Path("config/models.yaml")
    lines = file.read_text().splitlines()
    shown = [line.removeprefix("# ") for line in lines if line.startswith(("# models:", "#   "))]
    file.write_text("\n".join([*shown, "extends: built-in", ""]))
    # Beside the folder of the configuration.
    assert load_registry(file).models["my-model"].source.path == "my-model"


def test_here_needs_no_way_there(capsys: pytest.CaptureFixture[str]) -> None:
    init(Path())
    assert capsys.readouterr().out.endswith("\nnext: snakemake --cores all --resources gpu=1\n")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten_and_then_nothing_is_written(name: str) -> None:
    file = Path("mine", name)
    file.parent.mkdir(parents=True)
    file.symlink_to("nowhere")
    refusal = f"{file}: is there already, and nothing is overwritten; choose another directory"
    with pytest.raises(OutctlError, match=f"^{re.escape(refusal)}$"):
        init(Path("mine"))
    assert [path for path in Path("mine").rglob("*") if not path.is_dir()] == [file]
    assert not Path("mine/nowhere").exists()


def test_a_file_in_the_way_is_said_in_one_line() -> None:
    Path("mine").touch()
    with pytest.raises(OutctlError, match=r"^mine/Snakefile: cannot be written \((File exists|Not a directory)\)$"):
        init(Path("mine"))


@pytest.mark.slow
def test_an_installed_package_needs_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An environment of its own, which sees what this one has installed but for this package.
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    where = {name: str(tmp_path / "venv") for name in ("base", "platbase")}
    packages = Path(sysconfig.get_path("purelib", "venv", where))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    # Built where it lies, it would leave files there.
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", str(source)], check=True)
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    # Nothing activates it, as with pipx.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def run(*command: str, folder: Path = tmp_path) -> str:
        result = subprocess.run([str(python), "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    run("outctl", "init", "mine")
    project = tmp_path / "mine"
    assert "gemma-3-270m" in run("outctl", "models", folder=project)
    assert "finetune" in run("snakemake", "--cores", "1", "--dry-run", "--quiet", "rules", folder=project)
    # A job, with the handlers before and after it, and a rule of the user's beside it.
    (project / "Snakefile").write_text((project / "Snakefile").read_text() + OWN_RULE)
    nested = ("--config", "cases={given_words: {train_samples: 512}, other_wording: {eval_samples: 3}}")
    run("snakemake", "--cores", "1", "own.txt", *nested, folder=project)
    assert len((project / "results/samples/other_wording/eval.jsonl").read_text().splitlines()) == 3
    assert (project / "own.txt").is_file()
