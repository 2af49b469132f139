"""Reference rows: what fixed rules score on the samples that the models answered."""

import math
from collections.abc import Sequence

from outctl.config.names import REFERENCE_MODEL, REFERENCES
from outctl.evaluation.records import Record
from outctl.evaluation.scoring import score
from outctl.metrics.references import ordinal_shares
from outctl.tasks.samples import Sample

OTHER_TOKENS = tuple(f"<other {number}>" for number in range(10))
"""First tokens of no probability, so that the published rule finds its two tokens."""


def reference_records(samples: Sequence[Sample]) -> dict[str, list[Record]]:
    """Score the references on the samples of a case.

    `uniform` gives all answers alike, `majority` all mass to the largest share, and `ordinal` the same shares by rank to every
    question, those that come nearest to the targets of these very samples. Of equal shares the first is the larger. Where a word
    is to be suppressed there is `uniform` alone: never to say the word keeps to every limit, whatever its number.

    Returns:
        Records by reference; without those that mean nothing for the case.
    """
    limited = any(sample.at_most for sample in samples)
    records: dict[str, list[Record]] = {name: [] for name in (REFERENCES[:1] if limited else REFERENCES)}
    fitted = {
        count: ordinal_shares([sample.target for sample in samples if len(sample.target) == count])
        for count in {len(sample.target) for sample in samples}
    }
    for sample in samples:
        count = len(sample.target)
        # Rare, distinct words: where the model picks them, the references are valid and only their shares are wrong.
        words = sample.words if sample.words is not None else ["zephyr", "quagmire"]
        ranks = {number: rank for rank, number in enumerate(sorted(range(count), key=lambda n: -sample.target[n]))}
        answers = [len(own) for own in sample.outcomes] or [1] * count
        shares = {
            "uniform": [own / sum(answers) for own in answers],
            "majority": [float(ranks[number] == 0) for number in range(count)],
            "ordinal": [fitted[count][ranks[number]] for number in range(count)],
        }
        for name in records:
            tokens = sorted(zip(words, shares[name], strict=True), key=lambda token: -token[1])
            log_p = [math.log(share) if share else -math.inf for share in shares[name]]
            top = [*tokens, *((text, 0.0) for text in OTHER_TOKENS)]
            records[name].append(score(sample, REFERENCE_MODEL, name, words, log_p, top))
    return records
