"""How long jobs took in earlier runs, from what Snakemake measured of them."""

import csv
from pathlib import Path
from statistics import median


def measured_seconds(benchmark: Path) -> float | None:
    """What a job took, by the file that its rule's `benchmark` names; None where there is none that can be read."""
    try:
        with benchmark.open(encoding="utf-8", newline="") as stream:
            return float(next(csv.DictReader(stream, delimiter="\t"))["s"])
    except (OSError, UnicodeDecodeError, StopIteration, KeyError, TypeError, ValueError):
        return None


def earlier_seconds(benchmark: Path) -> float | None:
    """What a job took when it last ran; else what jobs took in the middle whose files lie beside its own; None if unknown."""
    own = measured_seconds(benchmark)
    if own is not None:
        return own
    beside = [seconds for file in benchmark.parent.glob("*.tsv") if (seconds := measured_seconds(file)) is not None]
    return median(beside) if beside else None
