"""What jobs took in earlier runs, from what Snakemake measured of them."""

import csv
import math
from contextlib import suppress
from pathlib import Path
from statistics import median


def read_benchmark(path: Path) -> dict[str, float]:
    """What a job took, by the file that its rule's `benchmark` names; empty where there is none that can be read.

    Snakemake writes NA or a dash for what a short job gave it no time to measure; such values are left out.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for name, text in rows[-1].items() if rows else ():
        with suppress(TypeError, ValueError):
            found[name] = float(text)
    return {name: value for name, value in found.items() if not math.isnan(value)}


def earlier_seconds(benchmark: Path) -> float | None:
    """What a job took when it last ran; else the median of the jobs whose files lie beside its own; None if unknown."""
    own = read_benchmark(benchmark).get("s")
    if own is not None:
        return own
    beside = [found["s"] for file in benchmark.parent.glob("*.tsv") if "s" in (found := read_benchmark(file))]
    return median(beside) if beside else None
