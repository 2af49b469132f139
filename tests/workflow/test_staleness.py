"""Exactly the stale steps: every row of the table by the plan, some by a dry run too, each against a finished experiment."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from finished_by_hand import TEMPLATE, ByHand, made_by_hand, stale_by_plan
from finished_copy import ROOT, Copy, Findings, Finished, examine, matching
from staleness_changes import deleted
from staleness_report import CHECKED, Checked
from staleness_table import CODE, CONFIG, DRY_RUN, GROUPS, LAST, OF_SNAKEMAKE, REGISTRY, REVISION, Jobs, Row

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.config.registry import ByKind
from outctl.config.section import Section
from outctl.storage.locks import only_writer

ROWS = [(group, row) for group, rows in GROUPS.items() for row in rows]
OF_CODE = "Code"
ASKED = "By a dry run of Snakemake"
DRY_RUNS = [(ASKED, row) for row in (*(row for _, row in ROWS if row.change in DRY_RUN), *OF_SNAKEMAKE)]
TABLES = ("output_control_results.csv", "output_control_simple_metrics.csv")
PRELOADED = [
    "snakemake.cli",
    "snakemake.workflow",
    "snakemake.dag",
    "pandas",
    "pydantic",
    "yaml",
    "jinja2",
    "pytest",
    "typer",
]
"""What dry runs import; the process from which they are forked has them once."""


def snakemake(copy: Copy, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start Snakemake in a session of its own."""
    copy.write()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *copy.command(*arguments)],
        cwd=copy.folder,
        env=os.environ | {"PATH": path, "HF_HUB_CACHE": str(copy.folder / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(copy: Copy, *arguments: str) -> None:
    """Run Snakemake to its end."""
    process = snakemake(copy, *arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Finished:
    """Two models, two cases, two adapters, run to the end."""
    finished = Finished(tmp_path_factory.mktemp("tiny") / "finished", CONFIG, REGISTRY)
    folder = finished.folder
    folder.mkdir()
    (folder / "asking.yaml").write_text(TEMPLATE)
    # Weights of more than the megabyte up to which Snakemake compares checksums.
    shutil.copytree(tiny_model_dir("llama", 0, head_dim=512).parent / "original", folder / "original")
    snapshot = folder / "cache" / "models--lab--tiny" / "snapshots" / REVISION
    shutil.copytree(tiny_model_dir("llama", 1).parent / "original", snapshot)
    finish(Copy(folder, CONFIG, REGISTRY))
    return finished


@pytest.fixture(scope="session")
def finished_by_hand(tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    """The same experiment, whose outputs no model has made."""
    return made_by_hand(tmp_path_factory.mktemp("by-hand"))


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """A process for each dry run, which changes it for good."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        yield pool


def parameters(rows: list[tuple[str, Row]]) -> list[Any]:
    return [pytest.param(group, row, id=row.change) for group, row in rows]


def everyday(rows: list[tuple[str, Row]]) -> list[Any]:
    """Every second row, and every twelfth of those of code, each of which takes new fingerprints; the others are slow."""
    of_code = [row for row in rows if row[0] == OF_CODE]
    chosen = [*[row for row in rows if row[0] != OF_CODE][::2], *of_code[::12]]
    return [pytest.param(*row, id=row[1].change, marks=[] if row in chosen else [pytest.mark.slow]) for row in rows]


def check(config: pytest.Config, group: str, change: str, jobs: Jobs, found: Findings) -> None:
    """Compare what is stale with what must be, and keep the comparison for the printed table."""
    expected = matching(jobs, found.known)
    said = set(found.reasons)
    wrong = {"missed": expected - (found.jobs & said), "needless": (found.jobs | said) - expected}
    verdict = "; ".join(f"NO, {kind}: {', '.join(sorted(names))}" for kind, names in wrong.items() if names) or "yes"
    config.stash.setdefault(CHECKED, []).append(Checked(group, change, jobs, len(found.jobs), verdict))
    assert found.jobs == expected, found.output
    assert said == expected, found.reasons
    # Something must be the reason, and each is one line.
    assert bool(expected) == any(found.reasons.values())
    assert all("\n" not in line for lines in found.reasons.values() for line in lines)


@pytest.mark.parametrize(("group", "row"), everyday(ROWS))
def test_a_change_makes_exactly_these_jobs_stale(
    finished_by_hand: ByHand, pytestconfig: pytest.Config, group: str, row: Row
) -> None:
    with finished_by_hand.copy() as copy:
        row.make(copy)
        found = stale_by_plan(copy)
    check(pytestconfig, group, row.change, row.jobs, found)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "row"), parameters(DRY_RUNS))
def test_snakemake_runs_exactly_the_stale_jobs(
    finished_tiny: Finished, processes: ProcessPoolExecutor, pytestconfig: pytest.Config, group: str, row: Row
) -> None:
    copy = finished_tiny.copy()
    row.make(copy)
    found = processes.submit(examine, copy).result()
    shutil.rmtree(copy.folder)
    check(pytestconfig, group, row.change, row.jobs, found)


def test_the_table_says_every_change_once() -> None:
    changes = [row.change for _, row in [*ROWS, *DRY_RUNS[len(DRY_RUN) :]]]
    assert len(set(changes)) == len(changes)
    assert set(DRY_RUN) <= set(changes)


def sections(annotation: Any) -> Iterator[type[Section]]:
    """Sections of the schema that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    parts = get_args(annotation)
    kinds = [kind for part in parts if isinstance(part, ByKind) for kind in part.classes()]
    for part in kinds or parts:
        yield from sections(part)


def schema_keys() -> set[str]:
    """Every key of experiment and registry, by the class that has it; keys that only hold a section are left out."""
    found, waiting, seen = set(), [Experiment, Registry], set()
    while waiting:
        section = waiting.pop()
        seen.add(section)
        for name, field in section.model_fields.items():
            owner = next(base for base in section.__mro__ if name in vars(base).get("__annotations__", {}))
            # Pydantic keeps apart from a field's type what stood beside it.
            kinds = [kind for part in field.metadata if isinstance(part, ByKind) for kind in part.classes()]
            below = [inner for part in kinds or [field.annotation] for inner in sections(part)]
            waiting += [inner for inner in below if inner not in seen]
            alternatives = [part for part in get_args(field.annotation) or (field.annotation,) if part is not NoneType]
            if kinds or len(alternatives) > 1 or list(sections(alternatives[0])) != alternatives:
                found.add(f"{owner.__name__}.{name}")
    return found


def test_every_key_of_the_schema_is_in_the_table() -> None:
    assert {key for _, row in ROWS for key in row.keys} == schema_keys()


def test_every_module_of_the_package_is_in_the_table() -> None:
    source = ROOT / "src"
    parts = [path.relative_to(source).with_suffix("").parts for path in (source / "outctl").rglob("*.py")]
    assert set(CODE) == {".".join(part for part in names if part != "__init__") for names in parts}


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is the case, for five minutes at most."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_exactly_what_is_not_finished(
    finished_tiny: Finished, processes: ProcessPoolExecutor, pytestconfig: pytest.Config
) -> None:
    copy = finished_tiny.copy()
    group, last = "An interrupted run", ("aggregate-model/local", *LAST)
    deleted("results/adapters/local/two", "results/evaluations/local/two", "results/logs")(copy)
    logs = copy.results / "logs"
    run = snakemake(copy)
    wait_for(lambda: (logs / "finetune" / "local" / "two.log").is_file())
    time.sleep(1)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    training = ("finetune/local/two", "evaluate/local/two/*", *last)
    found = processes.submit(examine, copy).result()
    check(pytestconfig, group, "Snakemake and its job are killed while an adapter is trained", training, found)

    finish(copy, "--unlock")
    evaluations = logs / "evaluate" / "local" / "two"
    records = copy.results / "evaluations" / "local" / "two"
    with ExitStack() as held:
        # As long as somebody else works on them, no evaluation ends before Snakemake is killed.
        for case in copy.config["cases"]:
            held.enter_context(only_writer(records / f"{case}.jsonl"))
        run = snakemake(copy)
        wait_for(lambda: any("waiting for" in log.read_text() for log in evaluations.glob("*.log")))
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    begun = [file.stem for file in evaluations.glob("*.log")]
    wait_for(lambda: all((records / f"{case}.provenance.json").is_file() for case in begun))
    evaluating = ("evaluate/local/two/*", *last)
    found = processes.submit(examine, copy).result()
    check(
        pytestconfig,
        group,
        "Snakemake alone is killed while records are made, and its jobs end well",
        evaluating,
        found,
    )
    for case in begun:
        assert found.reasons[f"evaluate/local/two/{case}"] == ["it was being made when the workflow was killed"]

    finish(copy, "--unlock")
    finish(copy)
    found = processes.submit(examine, copy).result()
    check(pytestconfig, group, "and the run is started again, to its end", (), found)
    for name in TABLES:
        assert (copy.results / name).read_bytes() == (finished_tiny.folder / "results" / name).read_bytes()
