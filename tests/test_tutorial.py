"""The tutorial, typed as it stands, in a fresh copy of the repository and a shell of its own."""

import os
import re
import resource
import shutil
import subprocess
import time
import tomllib
import venv
from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
from result_pages import columns_page

from documentation import ROOT, Block, blocks

MODEL = "resources/models/smollm2-135m-instruct"
LEFT_OUT = (*(".git", ".venv", ".snakemake", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"), "build", "site")
"""What is in a checkout that somebody works in and not in a fresh one, beside results and models."""
END_OF_BLOCK = "--- end of a block ---"


def fresh_copy(folder: Path, model: Path) -> Path:
    """A copy of the tree under test, set up as `make .venv/.ready` would, with the model that other tests fetched."""
    top = {str(ROOT): {"results", "resources"}}
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    copy = folder / "outctl"
    shutil.copytree(ROOT, copy, ignore=lambda path, names: ignored(path, names) | (top.get(path, set()) & set(names)))
    (copy / MODEL).parent.mkdir(parents=True)
    try:
        shutil.copytree(model, copy / MODEL, copy_function=os.link)
    except OSError:
        # The two are on different file systems.
        shutil.rmtree(copy / MODEL, ignore_errors=True)
        shutil.copytree(model, copy / MODEL)
    install(copy)
    return copy


def install(copy: Path) -> None:
    """An environment in which this Python's packages and the copy's own code are installed: `make` takes it for done."""
    environment = venv.EnvBuilder(symlinks=True)
    environment.create(copy / ".venv")
    binaries = copy / ".venv" / "bin"
    (packages,) = (copy / ".venv" / "lib").glob("python*/site-packages")
    parent = Path(metadata.distribution("snakemake").locate_file(""))
    (packages / "copy.pth").write_text(f"{copy / 'src'}\nimport site; site.addsitedir({str(parent)!r})\n")
    scripts = tomllib.loads((copy / "pyproject.toml").read_text())["project"]["scripts"]
    scripts |= {entry.name: entry.value for entry in metadata.entry_points(group="console_scripts", name="snakemake")}
    for name, target in scripts.items():
        module, function = target.split(":")
        file = binaries / name
        file.write_text(
            f"#!{binaries / 'python'}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        file.chmod(0o755)
    (copy / ".venv" / ".ready").touch()


def script_of(found: list[Block]) -> str:
    """All blocks as one script, which ends at the first command that fails and says when each block ended."""
    parts = [f"{block.text}printf '\\n%s %s\\n' '{END_OF_BLOCK}' \"$EPOCHREALTIME\"\n" for block in found]
    return "set -e\n" + "".join(parts)


def shows(printed: str, expected: str) -> bool:
    """Whether what a page shows was printed; `…` stands for anything."""
    pattern = ".*?".join(map(re.escape, expected.rstrip("\n").split("…")))
    return re.search(pattern, printed, re.DOTALL) is not None


def check_columns(results: Path) -> None:
    """Every column of every table that was written is in the reference, but for those under the names of cases."""
    reference = columns_page()
    tables = sorted(results.glob("*.csv"))
    assert len(tables) >= 5
    for table in tables:
        columns = table.read_text().partition("\n")[0].split(",")
        own = [column for column in columns if not column.startswith(("given_words", "animals"))]
        assert [column for column in own if f'id="{table.name}.{column}"' not in reference] == []


def test_every_command_of_the_tutorial_does_what_the_page_shows(
    tmp_path: Path, real_model_dir: Path, record_property: Callable[[str, object], None]
) -> None:
    copy = fresh_copy(tmp_path, real_model_dir)
    shown = blocks(ROOT / "docs" / "tutorial.md", "sh", "text")
    commands = [block for block in shown if block.language == "sh"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    began, used = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        ["bash", "-c", script_of(commands)],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    *printed, rest = re.split(rf"^{re.escape(END_OF_BLOCK)} ([\d.]+)\n", run.stdout, flags=re.MULTILINE)
    assert run.returncode == 0, f"{commands[len(printed) // 2]}: {rest}"
    by_block = dict(zip(commands, printed[::2], strict=True))
    for block, expected in pairwise(shown):
        if expected.language == "text" and block.language == "sh":
            assert shows(by_block[block], expected.text), f"{expected}: shown and not printed:\n{by_block[block]}"
    check_columns(copy / "results" / "first")
    ends = [began, *map(float, printed[1::2])]
    for block, (start, end) in zip(commands, pairwise(ends), strict=False):
        print(f"{end - start:6.1f} s  {block}: {block.text.splitlines()[0]}")
    print(f"{ends[-1] - began:6.1f} s  from the clone, installation apart, to results of an own model")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime:6.1f} s  of processor time")
    record_property("tutorial_seconds", round(ends[-1] - began, 1))


def test_every_output_of_the_tutorial_stands_behind_its_command() -> None:
    shown = blocks(ROOT / "docs" / "tutorial.md", "sh", "text")
    assert [str(after) for before, after in pairwise(shown) if before.language == after.language == "text"] == []
    assert shown[0].language == "sh"


@pytest.mark.parametrize(
    ("printed", "expected", "found"),
    [
        ("a,b\n1,2\n", "a,b\n1,2\n", True),
        ("a,b\n1,3\n", "a,b\n1,2\n", False),
        ("x\na 5 b\ny", "a … b\n", True),
        ("b a", "a…b", False),
    ],
)
def test_shown_output_is_compared_to_the_letter_but_for_its_gaps(printed: str, expected: str, found: bool) -> None:
    assert shows(printed, expected) is found
