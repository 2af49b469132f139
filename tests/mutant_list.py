"""Deliberate one-line bugs, each of which some test must catch; `mutants.py` tries them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A bug in one line, wherever in the package that line stands.

    Attributes:
        name: its name.
        area: what part of the program it is in.
        old: text that the package holds exactly once.
        new: what stands there instead.
        breaks: what goes wrong.
        nearest: the test file that is tried first, wherever it lies; or one test of it.
    """

    name: str
    area: str
    old: str
    new: str
    breaks: str
    nearest: str

    def file_in(self, checkout: Path) -> Path:
        """The file that has the text.

        Raises:
            ValueError: the text does not stand in the package exactly once.
        """
        found = [
            path
            for path in sorted((checkout / "src" / "outctl").rglob("*.py"))
            for _ in range(path.read_text(encoding="utf-8").count(self.old))
        ]
        if len(found) != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands in {[str(path) for path in found]}, not in one place")
        return found[0]

    def nearest_in(self, checkout: Path) -> str:
        """The nearest test, as pytest takes it.

        Raises:
            ValueError: there is no one such file, or no such test in it.
        """
        name, _, test = self.nearest.partition("::")
        found = sorted((checkout / "tests").rglob(name))
        if len(found) != 1 or (test and f"def {test}(" not in found[0].read_text(encoding="utf-8")):
            raise ValueError(f"{self.name}: no one test {self.nearest}")
        return f"{found[0].relative_to(checkout)}{self.nearest.removeprefix(name)}"


MUTANTS = [
    Mutant(
        "leading-space",
        "tokenisation",
        'for space in ("", " ")]',
        'for space in ("",)]',
        "forms with a leading space are forgotten",
        "test_word_forms.py",
    ),
    Mutant(
        "word-boundary",
        "tokenisation",
        "return first in JOINERS and following.isalnum()",
        "return first in JOINERS and following.isdigit()",
        "*'s* behind a word no longer continues it",
        "test_word_forms.py",
    ),
    Mutant(
        "depth",
        "tokenisation",
        "0 if node < 0 else self.depths[node] + 1",
        "0 if node < 0 else self.depths[node]",
        "every token of the tree is at position 0",
        "test_token_tree.py",
    ),
    Mutant(
        "normalisation",
        "probabilities",
        "- sums[layout.step_rows, 0]",
        "- sums[layout.step_rows, 1]",
        "tokens are normalised by the mass that ends a word",
        "test_word_probabilities.py",
    ),
    Mutant(
        "temperature",
        "probabilities",
        "logits /= temperature",
        "logits *= temperature",
        "logits are multiplied by the temperature",
        "test_word_probabilities.py",
    ),
    Mutant(
        "tvd-elsewhere",
        "scores",
        "return 0.5 * ((log_p.exp() - target).abs().sum(-1) + other_mass(log_p))",
        "return 0.5 * (log_p.exp() - target).abs().sum(-1)",
        "mass on other answers does not count",
        "test_divergences.py",
    ),
    Mutant(
        "tolerance",
        "scores",
        "within_tolerance=distance <= sample.tolerance + ROUNDING",
        "within_tolerance=distance < sample.tolerance",
        "a distance of exactly the tolerance fails",
        "test_scoring.py",
    ),
    Mutant(
        "logarithm",
        "losses",
        "torch.log(torch.tensor(2.0",
        "torch.log2(torch.tensor(2.0",
        "bits among nats in the Jensen-Shannon divergence",
        "test_divergences.py",
    ),
    Mutant(
        "rank",
        "losses",
        "target.sort(-1, descending=True).values",
        "target.sort(-1).values",
        "the likeliest word is trained towards the smallest share",
        "test_losses.py",
    ),
    Mutant(
        "shuffling-seed",
        "targets",
        'random.Random(f"{seed}/targets")',
        "random.Random()",
        "shuffled targets are others in every run",
        "test_finetune.py::test_shuffled_targets_are_those_of_other_questions_with_as_many_words",
    ),
    Mutant(
        "split",
        "targets",
        "int.from_bytes(digest[:8]) < fraction * 2**64",
        "int.from_bytes(digest[:8]) >= fraction * 2**64",
        "the fraction for evaluation goes to training",
        "test_cases.py",
    ),
    Mutant(
        "interval-ends",
        "statistics",
        "[tail, 1.0 - tail]",
        "[1.0 - tail, tail]",
        "low and high end of every bootstrap interval are swapped",
        "test_statistics.py",
    ),
    Mutant(
        "unpaired",
        "statistics",
        "paired=paired and len(data) > 1,",
        "paired=False,",
        "slopes are resampled with targets and shares drawn apart",
        "test_statistics.py",
    ),
    Mutant(
        "difference-sign",
        "statistics",
        "[new - old for old, new in",
        "[old - new for old, new in",
        "an adapter that is better looks worse",
        "test_tables.py",
    ),
    Mutant(
        "hash-without-packages",
        "specifications",
        'exclude={"repair", "repaired"}',
        'exclude={"repair", "repaired", "packages"}',
        "another version of a package makes nothing stale",
        "test_plan.py",
    ),
    Mutant(
        "old-time",
        "provenance",
        "file.stat().st_ctime_ns <= written",
        "file.stat().st_mtime_ns <= written",
        "an output that was changed and given its old time passes",
        "test_plan_state.py",
    ),
    Mutant(
        "seal-unread",
        "checkpoints",
        "sha256_of(directory / name) == checksum for",
        "(directory / name).is_file() for",
        "a checkpoint that was cut off is resumed from",
        "test_checkpoints.py",
    ),
    Mutant(
        "seal-unflushed",
        "checkpoints",
        "    for file in files:\n        synchronise(file)",
        "    for file in files:\n        synchronise(directory)",
        "a checkpoint is sealed before it is on the disk",
        "test_checkpoints.py",
    ),
    Mutant(
        "column-order",
        "tables",
        'ENDS = ("", "_low", "_high")',
        'ENDS = ("", "_high", "_low")',
        "the ends of intervals stand in another order than elsewhere",
        "test_tables.py",
    ),
    Mutant(
        "verdict",
        "report",
        "if furthest >= 0.0 or",
        "if nearest >= 0.0 or",
        "the report says yes though the interval reaches beyond the fixed rule",
        "test_conclusion.py",
    ),
]
"""The bugs."""
