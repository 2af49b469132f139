"""What the benchmarks have in common around the runs: options, model, machine, and where the figures go."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from child import Contender
from contest import Result

ROOT = Path(__file__).parent.parent
README = ROOT / "benchmarks" / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
LOGS = ROOT / "build" / "benchmarks"
MODEL = "smollm2-135m-instruct"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "lm-eval", "trl", "llama-cpp-python")
"""Whose versions stand beside the figures."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """The options that all benchmarks know."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--model", type=Path, help=f"a prepared model; {MODEL} by default, fetched if it is missing")
    options.add_argument("--contenders", nargs="+", metavar="NAME", help="only those whose name holds one of these")
    options.add_argument("--repeats", type=int, default=5, help="measured runs of each contender")
    options.add_argument("--threads", type=int, default=cores(), help="threads of each contender; all cores by default")
    options.add_argument("--seed", type=int, default=0, help="seed of the questions")
    options.add_argument("--tokens-per-pass", type=int, default=1024, help="largest token tree of an outctl evaluation")
    options.add_argument("--name", default=name, help="name of the JSON file of the figures")
    options.add_argument("--results", type=Path, default=RESULTS, help="folder of that file")
    options.add_argument("--keep-readme", action="store_true", help="leave the tables of benchmarks/README.md alone")
    return options


def set_threads(count: int) -> None:
    """Threads of the contenders' processes, which inherit the environment; nothing is asked of the hub there."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    os.environ["MKL_NUM_THREADS"] = str(count)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def prepared_model(given: Path | None) -> Path:
    """The prepared model to measure with: the given one, or the embedded one, fetched if it is missing."""
    if given is not None:
        return given.resolve()
    directory = ROOT / "resources" / "models" / MODEL
    if not (directory / "provenance.json").is_file():
        subprocess.run([sys.executable, "-m", "outctl", "fetch-model", MODEL], cwd=ROOT, check=True)
    return directory


def chosen(contenders: Sequence[Contender], names: Sequence[str] | None) -> list[Contender]:
    """The contenders whose name holds one of the given texts; all of them if none is given."""
    found = [one for one in contenders if not names or any(name in one.name for name in names)]
    if not found:
        sys.exit(f"--contenders: known are {', '.join(one.name for one in contenders)}")
    return found


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine(threads: int) -> dict[str, Any]:
    """Where, when and with what the figures were measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return {
        "machine": platform.machine(),
        "cpu": cpu,
        "cpu_types": [flag for flag in flags if flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")],
        "cores": cores(),
        "threads": threads,
        "memory_mb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": bool(_git("status", "--porcelain", "--", "src", "benchmarks/*.py")),
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write figures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {file}", file=sys.stderr)


def result_json(result: Result) -> dict[str, Any]:
    """A contender's figures; what it answered to the check is compared, not kept."""
    return {
        "name": result.name,
        "choice": result.choice,
        "tried_s": result.tried,
        "imported_mb": result.imported_mb,
        "loaded_mb": result.loaded_mb,
        "runs": [turn._asdict() for turn in result.turns],
        "failure": result.failure,
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median of some values, and the smallest and largest of them."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} .. {max(values):.{digits}f})"


def memory(result: Result) -> list[str]:
    """Cells of a contender's peak memory, and of how much of it is above the loaded weights."""
    return [f"{result.peak_mb:.0f} MB", f"{result.peak_mb - result.loaded_mb:.0f} MB"]


def share(reached: float, rates: Sequence[dict[str, float]]) -> dict[str, float]:
    """Useful operations per second of outctl, those of the machine by type, and the one as a share of the other."""
    found = {"useful_flops_per_second": reached}
    for dtype in rates[0]:
        possible = median(rate[dtype] for rate in rates)
        found |= {f"matrix_rate_{dtype}": possible, f"share_of_{dtype}": reached / possible}
    return found


def share_sentence(share: dict[str, float]) -> str:
    """The share of the matrix rate in words."""
    return (
        f"outctl computes {share['useful_flops_per_second'] / 1e9:.0f} useful GFLOP/s, "
        f"{share['share_of_bfloat16']:.0%} of the {share['matrix_rate_bfloat16'] / 1e9:.0f} that the model's own matrix "
        f"products reach in bfloat16 (float32: {share['matrix_rate_float32'] / 1e9:.0f})."
    )


def place(marker: str, text: str) -> None:
    """Put text between a marker's two comments in the README.

    Raises:
        ValueError: the README has no such marker.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, found, rest = README.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{README} lacks {begin} or {end}")
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def caption(setting: dict[str, Any]) -> str:
    """One line about the machine, above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in setting["versions"].items() if version)
    return (
        f"{setting['cpu']} ({setting['machine']}), {setting['cores']} cores, {setting['threads']} threads; {versions}; "
        f"commit {setting['commit'][:10]}, {setting['date'][:10]}; `{setting['command']}`"
    )


def publish(arguments: argparse.Namespace, marker: str, setting: dict[str, Any], text: str) -> None:
    """Print a table, and put it into the README unless that is to stay as it is."""
    text = f"{caption(setting)}\n\n{text}"
    print(text, flush=True)
    if not arguments.keep_readme:
        place(marker, text)
