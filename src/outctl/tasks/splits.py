"""Which words, seeds and topics only evaluation uses."""

import hashlib

from outctl.config.schema import GivenWords, SuccessiveWords
from outctl.errors import OutctlError


def belongs_to_eval(seed: int, item: str, fraction: float) -> bool:
    """Whether a word or a number is set aside for evaluation.

    Decided by a hash of the item itself, so it is the same for every case and does not depend on how many are drawn:
    an adapter trained on one case has not seen the evaluation words of any other.
    """
    digest = hashlib.sha256(f"{seed}/{item}".encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def words_of_split(
    case: GivenWords | SuccessiveWords, seed: int, split: str, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of a vocabulary's words that belong to a split.

    Raises:
        OutctlError: they are too few for a sample.
    """
    own = tuple(word for word in words if belongs_to_eval(seed, word, case.eval_fraction) == (split == "eval"))
    needed = _words_of_a_sample(case)
    if len(own) < needed:
        raise OutctlError(
            f"only {len(own)} of {len(words)} words are left for {split}, and a sample takes {needed}; "
            "raise vocabulary_size, list more words or change eval_fraction"
        )
    return own


def _words_of_a_sample(case: GivenWords | SuccessiveWords) -> int:
    if isinstance(case, SuccessiveWords):
        return 4
    return case.num_words * (2 if case.vocabulary == "phrases" else 1)
