"""Which words, seeds and topics only evaluation uses."""

import hashlib

from outctl.errors import OutctlError
from outctl.tasks.spelling import without_capitals


def belongs_to_eval(seed: int, item: str, fraction: float) -> bool:
    """Whether a word or a number is set aside for evaluation.

    Decided by a hash of the item itself, so it is the same for every case and does not depend on how many are drawn:
    an adapter trained on one case has not seen the evaluation words of any other.
    """
    digest = hashlib.sha256(f"{seed}/{item}".encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def words_of_split(words: tuple[str, ...], fraction: float, needed: int, seed: int, split: str) -> tuple[str, ...]:
    """Those of a vocabulary's words that belong to a split; training and evaluation share none, whatever their capitals.

    Args:
        words: the vocabulary.
        fraction: share of it that only evaluation uses.
        needed: words that a sample takes.
        seed: the experiment's seed.
        split: `train` or `eval`.

    Raises:
        OutctlError: too few are left for a sample.
    """
    own = tuple(word for word in words if belongs_to_eval(seed, without_capitals(word), fraction) == (split == "eval"))
    if len(own) < needed:
        raise OutctlError(
            f"only {len(own)} of {len(words)} words are left for {split}, and a sample takes {needed}; "
            "raise vocabulary_size, list more words or change eval_fraction"
        )
    return own
