"""The search for the likeliest words behind one prompt: what is found, what is open, and how likely that can still be.

Words are found by extending the likeliest unfinished token sequences. What they are ranked by is the measure that scores them:
the probability of a word's surface forms, each in the tokenizer's own split. A sequence that is not followed bounds each form
that begins with it, so the search knows when no other word can be likelier than those that it has found.
"""

from collections.abc import Callable, Sequence
from heapq import nsmallest

from outctl.inference.word_forms import surface_forms

Path = tuple[int, ...]
"""Tokens behind a prompt."""
Spelt = tuple[int, str]
"""What a sequence of tokens begins: its kind of form, and how all forms of its words begin."""

WIDTH = 8
"""Unfinished words of a prompt that are extended in one pass."""
SPACED, CAPITAL = 1, 2
"""Kinds of form, to be added: behind a space, with a capital."""
KINDS = range(4)
SLACK = 1e-6
"""By how much sums of the same float32 probabilities may differ, relative to them."""
NEGLIGIBLE = 1 / 64
"""Share of the last word's probability below which a next token is not kept apart from the others that are as unlikely."""


def fold(text: str) -> str:
    """The word that a surface form belongs to: without its leading space, and not capitalised as a sentence start."""
    word = text.removeprefix(" ")
    return word[:1].lower() + word[1:] if word[1:] == word[1:].lower() else word


def _key(word: str) -> str:
    """What all forms of a word have in common."""
    return word[:1].lower() + word[1:]


def _spelt(text: str) -> tuple[list[int], str]:
    """The kinds of form that may begin with a text, and the `_key` of what it spells of the word."""
    word = text.removeprefix(" ")
    spaced = SPACED if word != text else 0
    if word:
        return [spaced + (CAPITAL if word[0] != word[0].lower() else 0)], _key(word)
    return [spaced, spaced + CAPITAL] if text else list(KINDS), ""


class WordSearch:
    """State of the search behind one prompt.

    Args:
        prompt_end: the tree node that the prompt ends at.
        count: how many words are looked for.
        text_of: the text of tokens, as far as it is whole characters.
        forms_of: the tokens of each surface form of a word; without it a word is measured over all tokens that spell it.

    Attributes:
        unresolved: probability of what was not followed, beside the unfinished sequences.
    """

    def __init__(
        self,
        prompt_end: int,
        count: int,
        text_of: Callable[[Path], str],
        forms_of: Callable[[str], Sequence[Path]] | None = None,
    ) -> None:
        self.prompt_end = prompt_end
        self.count = count
        self.text_of = text_of
        self.forms_of = forms_of
        self.unresolved = 0.0
        self._unfinished: dict[Path, float] = {(): 1.0}
        self._rest: dict[Path, tuple[float, float]] = {}
        """Of each sequence that was extended what its next tokens have that were not kept: the likeliest, and all."""
        self._ended: dict[Path, float] = {}
        self._words: dict[str, float] = {}
        """Of each word what all tokens that spell it have, as far as they were followed."""
        self._masses: dict[str, float] = {}
        """The same of all words of one key, which is at least what the measure gives any of them."""
        self._forms: dict[str, Sequence[Path]] = {}
        self._chosen: list[str] = []
        self._contested: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to extend."""
        return not self._unfinished

    @property
    def open_mass(self) -> float:
        """Probability of all that was not followed to its end."""
        return self.unresolved + sum(self._unfinished.values()) + sum(rest for _, rest in self._rest.values())

    def take(self) -> list[tuple[Path, float]]:
        """Remove and return what is to be extended: forms on which the order depends, then the likeliest."""
        first = dict.fromkeys(
            path for word in self._contested for form in self._forms_of(word) if (path := self._open_part(form))
        )
        others = nsmallest(WIDTH, self._unfinished, key=lambda path: (-self._unfinished[path], path))
        taken = list(dict.fromkeys([*list(first)[: WIDTH // 2], *others]))[:WIDTH]
        return [(path, self._unfinished.pop(path)) for path in taken]

    def least(self) -> float:
        """The probability below which a longer sequence need not be kept apart."""
        return NEGLIGIBLE * self._bar() if len(self._chosen) == self.count else 0.0

    def end(self, path: Path, word: str, mass: float) -> None:
        """Add the probability that a word ends behind these tokens."""
        if not word:
            self.unresolved += mass
            return
        self._ended[path] = mass
        self._words[word] = self._words.get(word, 0.0) + mass
        self._masses[_key(word)] = self._masses.get(_key(word), 0.0) + mass

    def extend(self, path: Path, next_tokens: Sequence[tuple[int, float]], likeliest: float, rest: float) -> None:
        """Add what may follow a sequence that was taken.

        Args:
            path: the sequence.
            next_tokens: tokens that follow, each with the probability of the sequence with it.
            likeliest: the largest probability of such a sequence that is left out.
            rest: what all of these have together.
        """
        self._rest[path] = (min(likeliest, rest), rest)
        for token, mass in next_tokens:
            self._unfinished[*path, token] = mass

    def is_proven(self) -> bool:
        """Whether no other word can be likelier than the words found."""
        self._chosen, self._contested = self.likeliest(), []
        if len(self._chosen) < self.count:
            return not self._unfinished and not any(rest for _, rest in self._rest.values())
        bar = self._bar() * (1.0 + SLACK)
        if max(self._unfinished.values(), default=0.0) > bar:
            return False
        open_masses = self._open_masses()
        total = max(self._below(key, open_masses) for key in {key for _, key in open_masses} | {""})
        taken = {form for word in self._chosen for form in surface_forms(word)}
        for word, _ in sorted(self._words.items(), key=lambda item: -item[1]):
            # A word that has a form in common with a likelier one cannot be measured beside it.
            unsure = self._masses[_key(word)] + total > bar and taken.isdisjoint(surface_forms(word))
            if unsure and self._upper(word, open_masses) > bar:
                self._contested.append(word)
        if self._contested:
            self._contested = [*self._contested[: self.count], *self._chosen]
        return total <= bar and not self._contested

    def takes_more_than(self, passes: int) -> bool:
        """Whether a proof cannot be had in so many passes, as more sequences are likelier than the last of the words."""
        if len(self._chosen) < self.count:
            return False
        bar = self._bar()
        return sum(mass > bar for mass in self._unfinished.values()) > passes * WIDTH

    def likeliest(self) -> list[str]:
        """The likeliest words by what is known of them, at most as many as are looked for; no two have a form in common."""
        order = sorted(self._words, key=lambda word: (-self._masses[_key(word)], word))
        size = self.count
        while True:
            words = self._distinct(order[:size])
            if size >= len(order):
                return words
            # Whatever splits the tokenizer makes of the others, they have no more than this.
            if len(words) == self.count and self._masses[_key(order[size])] < self._lower(words[-1]):
                return words
            size *= 2

    def _distinct(self, candidates: Sequence[str]) -> list[str]:
        words: list[str] = []
        known: set[str] = set()
        for word in sorted(candidates, key=lambda word: (-self._lower(word), word)):
            if known.isdisjoint(forms := surface_forms(word)):
                words.append(word)
                known.update(forms)
            if len(words) == self.count:
                break
        return words

    def _bar(self) -> float:
        """What the last of the words found has at least."""
        return self._lower(self._chosen[-1])

    def _forms_of(self, word: str) -> Sequence[Path]:
        if self.forms_of is None:
            return ()
        if word not in self._forms:
            self._forms[word] = self.forms_of(word)
        return self._forms[word]

    def _lower(self, word: str) -> float:
        """What the measure gives a word, as far as it was followed."""
        if self.forms_of is None:
            return self._words[word]
        return sum(self._ended.get(form, 0.0) for form in self._forms_of(word))

    def _upper(self, word: str, open_masses: dict[Spelt, float]) -> float:
        """What the measure may give a word."""
        if self.forms_of is None:
            return self._words[word] + self._below(_key(word), open_masses)
        return sum(self._ended.get(form, self._open_mass(form)) for form in self._forms_of(word))

    def _open_part(self, form: Path) -> Path | None:
        """The unfinished beginning of a form; None where there is none."""
        return next((form[:size] for size in range(len(form) + 1) if form[:size] in self._unfinished), None)

    def _open_mass(self, form: Path) -> float:
        """What a form may have that was not followed to its end."""
        if (part := self._open_part(form)) is not None:
            return self._unfinished[part]
        last = max((size for size in range(len(form)) if form[:size] in self._rest), default=None)
        return 0.0 if last is None else self._rest[form[:last]][0]

    def _open_masses(self) -> dict[Spelt, float]:
        """What forms of each kind may still have that begin with each spelling: the most of one form, or of all tokens."""
        found: dict[Spelt, float] = {}
        of_all = self.forms_of is None
        parts = [(path, mass) for path, mass in self._unfinished.items()]
        parts += [(path, everything if of_all else likeliest) for path, (likeliest, everything) in self._rest.items()]
        for path, mass in parts:
            kinds, key = _spelt(self.text_of(path))
            for kind in kinds[:1] if of_all else kinds:
                known = found.get((kind, key), 0.0)
                found[kind, key] = known + mass if of_all else max(known, mass)
        return found

    def _below(self, key: str, open_masses: dict[Spelt, float]) -> float:
        """What a word may have of what is open whose forms begin so."""
        beginnings = [key[:size] for size in range(len(key) + 1)]
        combined = sum if self.forms_of is None else max
        return sum(combined([open_masses.get((kind, beginning), 0.0) for beginning in beginnings]) for kind in KINDS)
