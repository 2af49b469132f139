"""What all kinds of case have in common: options, and what a kind says of its samples.

The kinds themselves lie in `outctl.tasks.kinds`, one file each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from outctl.config.names import TemplateOrFile
from outctl.config.section import Section


class Gap(Section):
    """Shares that are never asked for."""

    min: int = Field(ge=1, le=99)
    """Smallest of them, in per cent."""
    max: int = Field(ge=1, le=99)
    """Largest of them, in per cent."""


class Percents(Section):
    """The shares that samples ask for."""

    min: int = Field(default=5, ge=1, le=99)
    """Smallest share of a word, in per cent."""
    max: int = Field(default=95, ge=1, le=99)
    """Largest share of a word, in per cent."""
    step: int = Field(default=5, ge=1, le=50)
    """Shares are multiples of this, in per cent."""
    gap: Gap | None = None
    """Shares in between that are never asked for, so that another case can ask for them: `{min: 35, max: 65}`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max or self.min % self.step or 100 % self.step:
            raise ValueError("percents need min <= max, a min that is a multiple of step, and a step that divides 100")
        if self.gap and not self.min <= self.gap.min <= self.gap.max <= self.max:
            raise ValueError("a gap needs min <= max, both between the min and max of the shares")
        return self

    def step_counts(self) -> tuple[int, ...]:
        """All shares that a word may be asked for, in steps."""
        every = range(self.min // self.step, self.max // self.step + 1)
        gap = range(self.gap.min, self.gap.max + 1) if self.gap else range(0)
        return tuple(share for share in every if share * self.step not in gap)

    def check_words(self, count: int) -> None:
        """Make sure that the shares of so many words can add up to 100 per cent.

        Raises:
            ValueError: they cannot.
        """
        sums = {0}
        for _ in range(count):
            sums = {
                total + share for total in sums for share in self.step_counts() if total + share <= 100 // self.step
            }
        if 100 // self.step not in sums:
            outside = f" outside {self.gap.min} to {self.gap.max} %" if self.gap else ""
            raise ValueError(
                f"{count} words between {self.min} % and {self.max} % in steps of {self.step} %{outside} "
                "cannot add up to 100 %"
            )


@dataclass(frozen=True)
class Draw:
    """What the samples of one case and split are drawn with.

    Attributes:
        random: the source of all chance.
        seeds: distinct prompt seeds, one for each sample; training and evaluation have none in common.
        seed: the experiment's seed.
        split: `train` or `eval`.
        listed: the entries of the case's vocabulary, where it lists them.
    """

    random: Random
    seeds: Iterator[int]
    seed: int
    split: str
    listed: tuple[str, ...] | None = None


class Drawn(NamedTuple):
    """What was drawn for one sample. How it is asked, scored and trained on follows from this alone.

    Attributes:
        seed: its prompt seed.
        target: the share asked for each word, summing to 1; largest first where the model picks the words.
        variables: what the template may use.
        words: the words, in the order of `target`; None where the model picks them.
        answers: where several answers count for one of the words, all that do, for each of them.
        at_most: whether the first share is a limit, under which any distribution is as asked. The template's `free` then asks
            without the limit.
        max_zipf: how rare the words must be that the model picks.
    """

    seed: int
    target: list[float]
    variables: dict[str, Any]
    words: list[str] | None = None
    answers: list[list[str]] | None = None
    at_most: bool = False
    max_zipf: float | None = None


class Case(Section):
    """What all kinds of case have in common."""

    picks_words: ClassVar[bool] = False
    """Whether the model picks the words."""
    asks_for_limits: ClassVar[bool] = False
    """Whether the first share of a sample is a limit."""
    needs: ClassVar[dict[str, str]] = {}
    """Texts that the template must have beside the question, each with what it is needed for."""

    kind: str
    """How this case asks."""
    train_samples: int = Field(default=0, ge=0, le=10_000_000)
    """Number of samples for training; adapters take the first of them."""
    eval_samples: int = Field(ge=1, le=1_000_000)
    """Number of samples for evaluation."""
    template: TemplateOrFile | None = None
    """Prompt template: the name of one that comes with the package, or the path of a YAML file; the default is named
    after the kind."""
    tolerance: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Largest total variation distance that counts as within tolerance."""

    def draw(self, draw: Draw) -> Iterator[Drawn]:
        """Draw samples without end, one for each of `draw.seeds`; the first ones must not depend on how many are taken.

        Raises:
            OutctlError: the vocabulary is too small.
        """
        raise NotImplementedError(f"kind {self.kind}")

    def variables(self, text: str) -> dict[str, Any]:
        """What a text of the template may use, by the example of some sample, to try the template before any is drawn."""
        raise NotImplementedError(f"kind {self.kind}")

    def example_answers(self, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Answered examples before the question, the same for all samples: variables of each one's question and answer.

        Args:
            seed: the experiment's seed.

        Raises:
            KeyedError: an option of this case asks for what cannot be; the key is that option.
        """
        yield from ()

    @property
    def examples_drawn(self) -> int:
        """How many answered examples stand before the question."""
        return 0

    @property
    def draws_from(self) -> str | None:
        """Name or file of the vocabulary that may list the words; None for cases that have no choice of one."""
        return None

    def check_words(self, listed: tuple[str, ...], seed: int, split: str) -> None:
        """Make sure that a split has enough of the listed words.

        Raises:
            OutctlError: it has not.
        """

    @property
    def set_aside(self) -> tuple[str, float] | None:
        """The words that it draws from, and the share of them that only evaluation uses; None for cases that draw no words.

        Cases whose words may be the same must give them the same name here, such as `common`.
        """
        return None

    def as_drawn(self, split: str, listed: bool) -> Self:
        """The case without what a split's samples do not depend on.

        Args:
            split: `train` or `eval`.
            listed: whether the words are listed, in which case they are given to `draw`.
        """
        # Neither split's samples depend on the other's count, nor on where the template was read from.
        indifferent = {"train_samples": 0, "eval_samples": 1, "template": None}
        # Nothing is scored in training.
        scored = {"tolerance": Case.model_fields["tolerance"].default} if split == "train" else {}
        return self.model_copy(update=indifferent | scored)


class Split(Case):
    """What the cases have in common in which the answer is to be split among words."""

    percents: Percents = Percents()
    """The shares that samples ask for."""
