import subprocess
import sys
from pathlib import Path

import pytest

from outctl.pipeline import provenance
from outctl.pipeline.workflow import FOLDER, job_prefix


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds a package of this name and another one; the working directory lies elsewhere."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "a {folder}'s name"
    for package in ("outctl", "another"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    return folder


def found(prefix: str) -> list[str]:
    """Which Python a job runs, where it finds the package, and whether it finds the other one."""
    code = "import sys, outctl; print(sys.executable); print(outctl.__path__[0]); import another"
    # As Snakemake does with it.
    command = f'{prefix.format()} python -c "{code}"'
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return [*result.stdout.splitlines(), result.stderr.strip().rpartition("\n")[2]]


def test_jobs_run_the_package_of_the_checkout_with_the_python_of_the_workflow(source: Path) -> None:
    assert found(job_prefix(source, conda=False)) == [sys.executable, str(source / "outctl"), ""]


def test_jobs_of_an_installed_package_find_it_by_their_python(source: Path) -> None:
    (source / "outctl-1.0.dist-info").mkdir()
    assert job_prefix(source, conda=False) == f"export PATH={Path(sys.executable).parent}${{{{PATH:+:$PATH}}}}; "


def test_another_environment_gets_the_installed_package_and_none_beside_it(source: Path) -> None:
    (source / "outctl-1.0.dist-info").mkdir()
    for _ in range(2):
        prefix = job_prefix(source, conda=True)
        assert prefix.startswith("export PYTHONPATH=")
        _, path, error = found(f"export PATH={Path(sys.executable).parent}; {prefix}")
        assert Path(path).resolve() == source / "outctl"
        assert error == "ModuleNotFoundError: No module named 'another'"


def test_snakemake_finds_no_module_in_the_workflows_folder() -> None:
    # It puts the folder on Python's path, where a module would hide others of its name.
    assert list(FOLDER.rglob("*.py")) == []


def test_a_users_own_repository_is_not_taken_for_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *names, *arguments], capture_output=True, text=True, check=True
        ).stdout

    installed = tmp_path / ".venv" / "outctl" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.code_version.__wrapped__() == {"commit": None, "dirty": None}
    git("add", "--all")
    git("commit", "-m", "a checkout of the package")
    assert provenance.code_version.__wrapped__() == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
