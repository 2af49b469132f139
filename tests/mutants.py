"""Which tests catch deliberate bugs: `python tests/mutants.py [--only NAME ...] [--tests PATH ...]`.

Each bug of `mutant_list.py` is made in a copy of the checkout. The test file nearest to it runs first, then all of `make test`,
then the slow tests, until one fails. The command fails where `make test` misses more than two bugs, or all tests miss one.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutant_list import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
LISTED = "tests/test_mutants.py"
"""Fails wherever a bug was made, since it looks for what stood there."""
EVERYDAY, SLOW = "make test", "make test-all"
SLOW_TESTS = [
    "--hypothesis-profile",
    "thorough",
    "-m",
    "(slow or hypothesis) and not gpu and not many_faults and not newcomer",
]
"""What tells the second from the first, as in the Makefile."""
LONGEST_S = 3600
"""A run of the tests that takes longer has been made to hang; choose another bug."""
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
MAY_MISS = 2
"""How many bugs may be left to the slow tests."""


@dataclass(frozen=True)
class Outcome:
    """What became of a bug.

    Attributes:
        mutant: the bug.
        tier: the command whose tests caught it, None where none has.
        test: the first test that failed.
        seconds: what it took.
    """

    mutant: Mutant
    tier: str | None
    test: str
    seconds: float


def checkout(target: Path) -> None:
    """Copy the checkout's files, those that Git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # Some tests read what Git says of the checkout.
    identity = ["-c", "user.name=mutants", "-c", "user.email=mutants@localhost"]
    for command in (["init", "-q"], ["add", "--all"], [*identity, "commit", "-q", "-m", "A copy"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    if (ROOT / "resources").is_dir():
        (target / "resources").symlink_to(ROOT / "resources")


def failing(folder: Path, *arguments: str) -> str | None:
    """The first test of a run that fails, None if all pass.

    Raises:
        SystemExit: no test ran at all, or one went on for ever.
    """
    paths = os.pathsep.join([str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            [*PYTEST, f"--ignore={LISTED}", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"pytest {' '.join(arguments)} did not end within {LONGEST_S} s")
    if run.returncode == 0:
        return None
    found = FAILED.search(run.stdout)
    if found is None:
        sys.exit(f"pytest {' '.join(arguments)} ended with code {run.returncode}:\n{run.stdout}\n{run.stderr}")
    return found[1]


def runs(mutant: Mutant, folder: Path, tests: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The runs that may catch a bug, the quickest first, each with the command that it is part of."""
    if tests:
        yield EVERYDAY, list(tests)
        return
    yield EVERYDAY, [mutant.nearest_in(folder)]
    yield EVERYDAY, ["--numprocesses", "2"]
    yield SLOW, ["--numprocesses", "2", *SLOW_TESTS]


def caught(mutant: Mutant, folder: Path, tests: Sequence[str], sound: set[str]) -> Outcome:
    """Make a bug in the copy, find out what catches it, and undo it.

    Args:
        mutant: the bug.
        folder: the copy.
        tests: run these alone, if any.
        sound: test files that are known to pass without a bug; what catches this one is added.

    Raises:
        SystemExit: what fails with the bug fails without it too.
    """
    file, began = mutant.file_in(folder), time.monotonic()
    source = file.read_text(encoding="utf-8")
    for tier, arguments in runs(mutant, folder, tests):
        file.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            test = failing(folder, *arguments)
        finally:
            file.write_text(source, encoding="utf-8")
        if test is not None:
            seconds = time.monotonic() - began
            where = test.partition("::")[0]
            marks = SLOW_TESTS if tier == SLOW else []
            if where not in sound and (other := failing(folder, where, *marks)):
                sys.exit(f"{other} fails without a bug")
            sound.add(where)
            return Outcome(mutant, tier, test, seconds)
    return Outcome(mutant, None, "", time.monotonic() - began)


def line(outcome: Outcome) -> str:
    """A row of the table."""
    mutant = outcome.mutant
    by = f"`{outcome.test}`" if outcome.tier else "**nothing**"
    return f"| {mutant.name} | {mutant.area} | {mutant.breaks} | {by} | {outcome.tier or '–'} | {outcome.seconds:.0f} |"


def main() -> None:
    """Try the bugs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[mutant.name for mutant in MUTANTS])
    parser.add_argument("--tests", nargs="+", metavar="PATH", default=[], help="run these tests alone")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only is None or mutant.name in options.only]
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name) / "checkout"
        folder.mkdir()
        checkout(folder)
        print("| bug | area | breaks | caught by | tier | seconds |\n|---|---|---|---|---|---|", flush=True)
        outcomes: list[Outcome] = []
        sound: set[str] = set()
        for mutant in chosen:
            outcomes.append(caught(mutant, folder, options.tests, sound))
            print(line(outcomes[-1]), flush=True)
    everyday, all_tests = (
        sum(outcome.tier in tiers for outcome in outcomes) for tiers in ([EVERYDAY], [EVERYDAY, SLOW])
    )
    print(f"\n{len(outcomes)} bugs: `{EVERYDAY}` catches {everyday}, all tests {all_tests}")
    if all_tests < len(outcomes) or everyday < len(outcomes) - MAY_MISS:
        sys.exit(1)


if __name__ == "__main__":
    main()
