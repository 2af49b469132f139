"""The tutorial, typed as it stands, in a fresh clone of the repository and a shell of its own, by the clock."""

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

from documentation import ROOT, Block, between, blocks, section, write_between

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "tutorial.md"
MODEL = "resources/models/smollm2-135m-instruct"
END_OF_BLOCK = "--- end of a block ---"
CLONE = "`git clone`"
TARGET = "OUTCTL_NEWCOMER_TABLE"
"""Environment variable: the page that the times are written into."""


def origin(folder: Path) -> Path:
    """A repository of one commit, which holds the tree under test: what is changed and not committed yet too."""
    # Whatever git is told elsewhere, for the repository that the tests may be started from too, is not meant for this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    repository = folder / "origin"
    into = (f"--git-dir={repository}", f"--work-tree={ROOT}")
    author = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for command in (
        ("init", "--quiet", "--bare", str(repository)),
        (*into, "add", "--all"),
        (*into, *author, "commit", "--quiet", "--message=The tree under test"),
    ):
        subprocess.run(["git", *command], cwd=ROOT, env=environment, check=True)
    return repository


def place(model: Path, clone: Path) -> None:
    """Put the model that other tests fetched where the tutorial would fetch it to."""
    (clone / MODEL).parent.mkdir(parents=True)
    try:
        shutil.copytree(model, clone / MODEL, copy_function=os.link)
    except OSError:
        # The two are on different file systems.
        shutil.rmtree(clone / MODEL, ignore_errors=True)
        shutil.copytree(model, clone / MODEL)


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


def limit() -> float:
    """The seconds that the page promises not to take."""
    (minutes,) = re.findall(r"more than (\d+) minutes", PAGE.read_text())
    return 60.0 * float(minutes)


def measured(times: dict[str, float], processor: float) -> str:
    """What the page says of how long it took: a sentence, and a row a section.

    On a machine that others use too, the processor time says how long it would take alone.
    """
    total, cores = sum(times.values()), len(os.sched_getaffinity(0))
    rows = [("part", "seconds"), ("---", "---"), *((part, f"{seconds:.1f}") for part, seconds in times.items())]
    return "\n".join(
        [
            f"Measured on {cores} CPU cores by `make newcomer`: {total / 60:.1f} minutes from `git clone` to the last table, "
            f"and {processor / 60:.1f} minutes of processor time.\n",
            *(f"| {part} | {seconds} |" for part, seconds in rows),
        ]
    )


@pytest.mark.parametrize(
    "as_newcomer",
    [
        pytest.param(False, id="without installing and fetching"),
        pytest.param(True, id="all of it", marks=pytest.mark.newcomer),
    ],
)
def test_every_command_of_the_tutorial_does_what_the_page_shows(
    as_newcomer: bool, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    shown = blocks(PAGE, "sh", "text")
    commands = [block for block in shown if block.language == "sh"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if as_newcomer:
        # What was installed on this machine before is not there on a newcomer's.
        environment["PIP_NO_CACHE_DIR"] = "1"
    repository, clone = origin(tmp_path), tmp_path / "outctl"
    began = time.time()
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
    cloned = time.time()
    if not as_newcomer:
        place(request.getfixturevalue("real_model_dir"), clone)
        install(clone)
    typed, used = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        ["bash", "-c", script_of(commands)],
        cwd=clone,
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
    check_columns(clone / "results" / "first")

    times = {CLONE: cloned - began}
    ends = [typed, *map(float, printed[1::2])]
    for block, (start, end) in zip(commands, pairwise(ends), strict=False):
        print(f"{end - start:6.1f} s  {block}: {block.text.splitlines()[0]}")
        times[section(block)] = times.get(section(block), 0.0) + end - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(f"{processor:6.1f} s  of processor time")
    left_out = "" if as_newcomer else ", installing the packages and fetching the model left out"
    record_property(
        "the tutorial", f"{sum(times.values()):.0f} s from `git clone` to results of an own model{left_out}"
    )
    if as_newcomer:
        if TARGET in os.environ:
            write_between(Path(os.environ[TARGET]), "newcomer", measured(times, processor))
        assert sum(times.values()) <= limit()


def test_the_times_on_the_page_are_those_of_its_sections_and_within_its_promise() -> None:
    rows = dict(re.findall(r"^\| (.+) \| ([\d.]+) \|$", between(PAGE, "newcomer"), re.MULTILINE))
    sections = dict.fromkeys(section(block) for block in blocks(PAGE, "sh"))
    assert list(rows) == [CLONE, *sections], "run `make newcomer`"
    assert sum(map(float, rows.values())) <= limit()


def test_every_output_of_the_tutorial_stands_behind_its_command() -> None:
    shown = blocks(PAGE, "sh", "text")
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
