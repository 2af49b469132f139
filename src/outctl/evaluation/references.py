"""Reference rows: what fixed rules score, always evenly or always the larger share, on the samples that the models answered."""

import math
from collections.abc import Iterable

from outctl.config.names import REFERENCE_MODEL, REFERENCES
from outctl.evaluation.records import Record
from outctl.evaluation.scoring import score
from outctl.tasks.samples import Sample

OTHER_TOKENS = tuple(f"<other {number}>" for number in range(10))
"""First tokens of no probability, so that the published rule finds its two tokens."""


def reference_records(samples: Iterable[Sample]) -> dict[str, list[Record]]:
    """Records of the references: `uniform` (all answers alike) and `majority` (all mass on the likelier word)."""
    records: dict[str, list[Record]] = {name: [] for name in REFERENCES}
    for sample in samples:
        count = len(sample.target)
        # Rare, distinct words: where the model picks them, the references are valid and only their shares are wrong.
        words = sample.words if sample.words is not None else ["zephyr", "quagmire"]
        likelier = max(range(count), key=lambda number: sample.target[number])
        answers = [len(own) for own in sample.outcomes] or [1] * count
        shares = {
            "uniform": [own / sum(answers) for own in answers],
            "majority": [float(number == likelier) for number in range(count)],
        }
        for name in REFERENCES:
            tokens = sorted(zip(words, shares[name], strict=True), key=lambda token: -token[1])
            log_p = [math.log(share) if share else -math.inf for share in shares[name]]
            top = [*tokens, *((text, 0.0) for text in OTHER_TOKENS)]
            records[name].append(score(sample, REFERENCE_MODEL, name, words, log_p, top))
    return records
