"""What comparisons with others have in common around the runs: options, the model, and how figures are shown."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import report
from child import Contender
from contest import Result

ROOT = Path(__file__).parent.parent
LOGS = ROOT / "build" / "benchmarks"
MODEL = "smollm2-135m-instruct"


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks know."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--model", type=Path, help=f"a prepared model; {MODEL} by default, fetched if it is missing")
    options.add_argument("--contenders", nargs="+", metavar="NAME", help="only those whose name holds one of these")
    options.add_argument("--repeats", type=int, default=5, help="measured runs of each contender")
    options.add_argument(
        "--threads", type=int, default=report.cores(), help="threads of each contender; all cores by default"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of the questions")
    options.add_argument(
        "--publish", action="store_true", help="write the table into README.md and the figures into results/"
    )
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


def publish(arguments: argparse.Namespace, name: str, figures: dict[str, Any], text: str) -> None:
    """Print a table, and put it into the README and the figures beside it where that is asked for."""
    print(text, flush=True)
    if arguments.publish:
        report.publish(name, figures, text)
