"""How the time of a whole run divides: `python benchmarks/make_run.py`.

Runs `snakemake --cores all --resources gpu=1` in an empty copy of the checkout, as `make run` does, and attributes every
moment of it to what was going on: imports, loading of models, or computing and all else of a job, by kind of job; and
Snakemake, where no job was running. Where several jobs ran at once, each has its share of the moment, so the parts add up to
the time that the run took. What a process does when it is on its way out, behind its last line of Python, counts as
Snakemake's.

A module on the path of every Python process, `stamps/sitecustomize.py`, takes the times; the program itself is not changed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

ROOT = Path(__file__).parent.parent
PHASES = ("imports", "loading", "rest")


@dataclass(frozen=True)
class Span:
    """A time that a process spent in one phase."""

    begin: float
    end: float
    process: str
    phase: str


def copy_checkout(folder: Path) -> None:
    """Copy the files that git knows, as they are now: no results, no models."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(ROOT / name, folder / name)


def run_workflow(checkout: Path, stamps: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """Run the workflow; the moments at which it began and ended."""
    stamps.mkdir()
    paths = [str(ROOT / "benchmarks" / "stamps"), str(checkout / "src")]
    variables = {
        **os.environ,
        "BENCHMARK_STAMPS": str(stamps),
        "PYTHONPATH": os.pathsep.join(paths),
        # The workflow calls `python`, which must be the one that runs this.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--resources", "gpu=1", *arguments]
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    run = subprocess.run(command, cwd=checkout, env=variables, check=False)
    if run.returncode:
        sys.exit(f"the run failed: {' '.join(command)}")
    return begin, time.clock_gettime(time.CLOCK_BOOTTIME)


def process_name(command: Sequence[str]) -> str | None:
    """The subcommand of a process of this program, `snakemake`, or None for other programs."""
    for index, word in enumerate(command[:-1]):
        if word == "-m":
            module = command[index + 1]
            return command[index + 2] if module == "outctl" else "snakemake" if module == "snakemake" else None
    return None


def read_spans(stamps: Path) -> tuple[list[Span], Counter[str]]:
    """The phases of all processes, and how many of each kind there were."""
    spans: list[Span] = []
    processes: Counter[str] = Counter()
    for file in stamps.glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        if (name := process_name(record["command"])) is None:
            continue
        processes[name] += 1
        moments = [*(moment for moment, _ in record["changes"]), record["end"]]
        phases = [phase for _, phase in record["changes"]]
        spans += [
            Span(begin, end, name, phase)
            for begin, end, phase in zip(moments, moments[1:], phases, strict=False)
            if end > begin
        ]
    return spans, processes


def divide(spans: Iterable[Span], begin: float, end: float) -> dict[tuple[str, str], float]:
    """Seconds of each process and phase; where several jobs are at work at once, each has its share.

    Snakemake's own phases count where no job is at work, split at the first and the last job.
    """
    spans = list(spans)
    jobs = [span for span in spans if span.process != "snakemake"]
    first, last = min(span.begin for span in jobs), max(span.end for span in jobs)
    active: set[Span] = set()
    events = [(span.begin, active.add, span) for span in spans] + [(span.end, active.discard, span) for span in spans]
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def credit(start: float, stop: float) -> None:
        start, stop = max(start, begin), min(stop, end)
        if stop <= start:
            return
        working = [span for span in active if span.process != "snakemake"]
        for span in working:
            seconds[span.process, span.phase] += (stop - start) / len(working)
        if not working:
            importing = any(span.phase == "imports" for span in active)
            middle = (start + stop) / 2
            when = "planning" if middle < first else "after the last job" if middle > last else "between jobs"
            seconds["snakemake", "imports" if importing else when] += stop - start

    moment = begin
    for at, change, span in sorted(events, key=lambda event: event[0]):
        credit(moment, at)
        moment = max(moment, at)
        change(span)
    credit(moment, end)
    return dict(seconds)


def summarise(stamps: Path, begin: float, end: float) -> dict[str, Any]:
    """The figures of a run: its seconds, and those of each kind of process by phase."""
    spans, processes = read_spans(stamps)
    seconds = divide(spans, begin, end)
    kinds = sorted({process for process, _ in seconds}, key=lambda kind: -_total(seconds, kind))
    return {
        "seconds": end - begin,
        "parts": {
            kind: {
                "processes": processes[kind],
                "phases": {phase: value for (process, phase), value in seconds.items() if process == kind},
            }
            for kind in kinds
        },
    }


def _total(seconds: dict[tuple[str, str], float], kind: str) -> float:
    return sum(value for (process, _), value in seconds.items() if process == kind)


def table(result: dict[str, Any]) -> str:
    """The parts of a run, jobs first."""
    lines = [
        "| part | processes | imports | loading | computing and else | seconds | of the run |",
        "|---|---|---|---|---|---|---|",
    ]
    sums = dict.fromkeys(PHASES, 0.0)
    for kind, part in result["parts"].items():
        if kind == "snakemake":
            continue
        for phase, seconds in part["phases"].items():
            sums[phase] += seconds
        lines.append(_row(f"`{kind}`", part["processes"], part["phases"], result["seconds"]))
    lines.append(_row("all jobs", "", sums, result["seconds"]))
    own = result["parts"]["snakemake"]["phases"]
    for phase in ("imports", "planning", "between jobs", "after the last job"):
        value = own.get(phase, 0.0)
        share = 100 * value / result["seconds"]
        lines.append(f"| Snakemake: {phase} | | | | | {value:.1f} | {share:.0f} % |")
    lines.append(f"| the run | | | | | {result['seconds']:.1f} | 100 % |")
    return "\n".join(lines)


def _row(name: str, processes: int | str, phases: dict[str, float], whole: float) -> str:
    total = sum(phases.values())
    cells = [f"{phases.get(phase, 0.0):.1f}" for phase in PHASES]
    return f"| {name} | {processes} | {' | '.join(cells)} | {total:.1f} | {100 * total / whole:.0f} % |"


def main() -> None:
    """Run, divide and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", type=Path, help="an experiment in place of the default one")
    parser.add_argument(
        "--checkout", type=Path, help="a fresh clone to run in and to keep, in place of a copy of this one"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--publish", action="store_true", help="write results/make_run.json and README.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        checkout, stamps = (arguments.checkout or Path(name) / "checkout").absolute(), Path(name) / "stamps"
        if arguments.checkout is None:
            copy_checkout(checkout)
        elif (checkout / "results").exists():
            sys.exit(f"{checkout}: has results already, and a run there would do less; clone anew")
        chosen = ["--configfile", str(arguments.configfile.absolute())] if arguments.configfile else []
        begin, end = run_workflow(checkout, stamps, chosen)
        result = summarise(stamps, begin, end)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.publish:
        from report import publish

        publish("make_run", result, table(result))


if __name__ == "__main__":
    main()
