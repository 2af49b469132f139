"""How long Snakemake takes to plan large sweeps: `python benchmarks/planning.py`.

Sweeps of growing numbers of models, each with 5 adapters and 10 cases, are planned by a dry run three times: before anything
has run, when everything is finished, and after a change of one adapter's recipe. No job is run: a stub writes each job's
outputs with their provenance, and Snakemake is told that they are finished (`--touch`). With `--only-before` there is one
dry run a sweep, before anything has run, which is all that sweeps of thousands of jobs leave time for. Prints a Markdown
table, and writes the figures as JSON where `--json` says.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from outctl.config.reading import read_yaml
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import write_provenance
from outctl.stages.dag import load_plan

ROOT = Path(__file__).parent.parent
ADAPTERS = 5
CASES = 10


@dataclass(frozen=True)
class Row:
    """Figures of one sweep: jobs, and seconds and peak memory of the dry runs; None where there was no such run."""

    models: int
    jobs: int
    before_s: float
    finished_s: float | None
    changed_s: float | None
    changed_jobs: int | None
    peak_mb: float


def write_sweep(folder: Path, models: int) -> None:
    """Write registry and configuration of a sweep."""
    source = {"kind": "hub", "repo": "lab/model", "revision": "0" * 40}
    entry = {"source": source, "chat": True, "parameters": 8_000_000_000, "precision": "nf4"}
    registry = {"models": {f"model-{number:04d}": entry for number in range(models)}}
    (folder / "models.yaml").write_text(yaml.safe_dump(registry), encoding="utf-8")
    case = {"kind": "given_words", "train_samples": 1000, "eval_samples": 100}
    config = {
        "models": list(registry["models"]),
        "registry": "models.yaml",
        "cases": {f"case-{number}": case for number in range(CASES)},
        "adapters": {f"adapter-{number}": {"cases": {"case-0": 1000}, "steps": 100} for number in range(ADAPTERS)},
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def snakemake(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds that Snakemake took in a sweep's folder, and what it printed."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--configfile",
        "experiment.yaml",
    ]
    start = time.perf_counter()
    run = subprocess.run(
        [*command, "--cores", "all", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if run.returncode:
        sys.exit(f"snakemake failed:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    return seconds, run.stdout + run.stderr


def finish(folder: Path) -> Plan:
    """Write every job's outputs, in place of running the jobs."""
    config = folder / "experiment.yaml"
    plan = load_plan(read_yaml(config), [config])
    for job in plan.jobs():
        *outputs, provenance = plan.outputs(*job)
        for output in outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("{}\n", encoding="utf-8")
        write_provenance(provenance, plan.spec(*job), outputs)
    snakemake(folder, "--touch", "--quiet", "all")
    return plan


def stale_jobs(printed: str) -> int:
    """Number of jobs in the statistics that a dry run printed."""
    return next((int(line.split()[1]) for line in printed.splitlines() if line.startswith("total")), 0)


def peak_mb() -> float:
    """Largest memory of a dry run so far; sweeps are planned in order of their size, so it is that of the last one."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure_before(models: int) -> Row:
    """Plan one sweep of which nothing has run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sweep(folder, models)
        before, printed = snakemake(folder, "--dry-run", "--quiet", "rules")
        # The rule that asks for everything is no job.
        return Row(models, stale_jobs(printed) - 1, before, None, None, None, peak_mb())


def measure(models: int) -> Row:
    """Plan one sweep in its three states."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sweep(folder, models)
        before, _ = snakemake(folder, "--dry-run", "--quiet", "rules")
        here = Path.cwd()
        os.chdir(folder)
        plan = finish(Path())
        os.chdir(here)
        finished, printed = snakemake(folder, "--dry-run")
        if "Nothing to be done" not in printed:
            sys.exit(f"a finished sweep is not taken for finished:\n{printed[-3000:]}")
        config: dict[str, Any] = read_yaml(folder / "experiment.yaml")
        config["adapters"]["adapter-0"]["steps"] = 200
        (folder / "experiment.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        changed, printed = snakemake(folder, "--dry-run")
        return Row(models, sum(1 for _ in plan.jobs()), before, finished, changed, stale_jobs(printed), peak_mb())


def line(row: Row) -> str:
    """A row of the table."""
    later = "| | |"
    if row.finished_s is not None:
        later = f"| {row.finished_s:.1f} s | {row.changed_s:.1f} s, {row.changed_jobs} jobs |"
    return (
        f"| {row.models} | {row.jobs} | {row.before_s:.1f} s {later} {1000 * row.before_s / row.jobs:.1f} "
        f"| {row.peak_mb:.0f} MB |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[25, 50, 100, 200], help="sizes of the sweeps")
    parser.add_argument("--only-before", action="store_true", help="one dry run a sweep, before anything has run")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--publish", action="store_true", help="write results/planning.json and README.md")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores; {ADAPTERS} adapters, {CASES} cases\n")
    lines = [
        "| models | jobs | nothing done yet | everything done | one recipe changed | ms a job | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    rows = []
    for models in sorted(arguments.models):
        row = measure_before(models) if arguments.only_before else measure(models)
        rows.append(asdict(row))
        lines.append(line(row))
        print(lines[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if arguments.publish:
        from report import publish

        publish("planning", {"adapters": ADAPTERS, "cases": CASES, "rows": rows}, "\n".join(lines))


if __name__ == "__main__":
    main()
