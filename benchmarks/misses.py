"""What single answers miss by, and whether adapters miss alike: `python benchmarks/misses.py RESULTS CASE VARIANT...`.

Reads the records of a finished experiment. A question of two words asks for log-odds x = log(t1 / t2), and the answer has
y = log(p1 / p2). A line is fitted to y over x; what is left, the *residual*, is what the number does not explain. Where the
residuals of adapters that learned with other seeds, or other targets, agree question by question, they come from the
words. Prints a Markdown table, a row a variant, with intervals of 95 % (bootstrap over questions):

- **slope**, **residual**: of that line, and the standard deviation of what is left;
- **missed**: mean distance of the first word's share of the mass from the share asked (`avg_conditional_tvd`);
- **without residuals**: the same for the line alone;
- **with NAME**: correlation of the residuals with those of the first variant, with an interval of 95 % (Fisher).
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

import comparison
from outctl.errors import OutctlError
from outctl.evaluation.records import Record, read_records
from outctl.metrics.statistics import Array, conditional_share

RESAMPLES = 2000
"""Bootstrap resamples of the questions behind an interval."""


class Line(NamedTuple):
    """How answers follow what is asked, in log-odds.

    Attributes:
        slope: of the line, 1 for an answer as asked.
        residual: standard deviation of what is left.
        missed: mean distance of the given share from the asked one.
        of_the_line: the same, were nothing left.
    """

    slope: float
    residual: float
    missed: float
    of_the_line: float


class Misses(NamedTuple):
    """A variant's line, with the ends of an interval of 95 % of each of its numbers, and what is left of each question."""

    line: Line
    low: Line
    high: Line
    residuals: dict[str, float]


def fit(asked: Array, given: Array) -> tuple[Line, Array]:
    """The line, and what is left of each question."""
    line = stats.linregress(logit(asked), logit(given))
    expected = line.intercept + line.slope * logit(asked)
    left = logit(given) - expected
    missed, of_the_line = np.abs(given - asked).mean(), np.abs(expit(expected) - asked).mean()
    return Line(float(line.slope), float(left.std()), float(missed), float(of_the_line)), left


def misses(records: list[Record]) -> Misses:
    """Fit the line; questions that gave a word no probability are left out.

    Raises:
        OutctlError: a question has another number of words than two, or too few are left.
    """
    if any(len(record.words) != 2 for record in records):
        raise OutctlError("only questions of two words have log-odds")
    kept = [record for record in records if min(*record.target, *record.probabilities) > 0]
    if len({record.target[0] for record in kept}) < 2:
        raise OutctlError("fewer than two different targets are left to fit a line to")
    asked = np.array([record.target[0] for record in kept])
    given = np.array([conditional_share(record.probabilities) for record in kept])
    line, left = fit(asked, given)
    drawn = np.random.default_rng(0).integers(len(kept), size=(RESAMPLES, len(kept)))
    # A resample of one target alone has no line.
    lines = [fit(asked[chosen], given[chosen])[0] for chosen in drawn if np.ptp(asked[chosen]) > 0]
    low, high = (Line(*map(float, ends)) for ends in np.quantile(lines, [0.025, 0.975], axis=0))
    return Misses(line, low, high, dict(zip((record.sample_id for record in kept), left.tolist(), strict=True)))


def agreement(one: Misses, other: Misses) -> str:
    """Correlation of residuals over the questions of both, with its interval."""
    both = sorted(one.residuals.keys() & other.residuals.keys())
    found = stats.pearsonr([one.residuals[name] for name in both], [other.residuals[name] for name in both])
    low, high = found.confidence_interval(0.95)
    return f"{found.statistic:.2f} ({low:.2f} .. {high:.2f})"


def table(found: dict[str, Misses]) -> str:
    """The Markdown table."""
    first = next(iter(found))
    header = ["variant", "slope", "residual", "missed", "without residuals", f"with {first}"]
    rows = [
        [
            name,
            *(
                f"{value:.{digits}f} ({low:.{digits}f} .. {high:.{digits}f})"
                for value, low, high, digits in zip(of.line, of.low, of.high, (2, 2, 3, 3), strict=True)
            ),
            "" if name == first else agreement(found[first], of),
        ]
        for name, of in found.items()
    ]
    return comparison.table(header, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the experiment's results directory")
    parser.add_argument("case", help="a case whose questions have two words")
    parser.add_argument("variants", nargs="+", metavar="VARIANT", help="adapters, or `baseline`")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the model")
    arguments = parser.parse_args()
    folder = arguments.results / "evaluations" / arguments.model
    try:
        found = {
            variant: misses(read_records(folder / variant / f"{arguments.case}.jsonl"))
            for variant in arguments.variants
        }
    except OutctlError as error:
        sys.exit(f"{arguments.case}: {error}")
    print(table(found))


if __name__ == "__main__":
    main()
