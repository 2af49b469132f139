"""The question asks for one of many, and to keep one of them under a share."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from outctl.config.cases import Case, Draw, Drawn
from outctl.config.registries import CASE_KINDS
from outctl.tasks.splits import belongs_to_eval
from outctl.tasks.topics import TOPICS

TOPICS_FOR_EVAL = 0.5
"""Share of the topics that only evaluation asks about; there are few, and training on them is the exception."""
OTHERS = "another"
"""What stands for all other answers to a topic."""


@CASE_KINDS.register("suppression")
class Suppression(Case):
    """The question asks for one of many, and to keep one of them under a share."""

    asks_for_limits: ClassVar[bool] = True
    needs: ClassVar[dict[str, str]] = {"free": "the question without a limit"}

    kind: Literal["suppression"]
    """How this case asks."""
    limits: list[Annotated[int, Field(ge=1, le=99)]] = Field(default=[1, 2, 5, 10], min_length=1)
    """The limits that samples ask for, in per cent, all equally likely. Small ones, so that the word would otherwise often
    take more."""

    def draw(self, draw: Draw) -> Iterator[Drawn]:
        """Draw a topic, the answer that is to be rare, and its limit; none comes again before all have been asked."""
        evaluated = draw.split == "eval"
        own = [topic for topic in TOPICS if belongs_to_eval(draw.seed, topic.name, TOPICS_FOR_EVAL) == evaluated]
        every = [(topic, word, percent) for topic in own for word in topic.answers for percent in self.limits]
        left: list[Any] = []
        for seed in draw.seeds:
            left = left or draw.random.sample(every, len(every))[::-1]
            topic, word, percent = left.pop()
            others = [answer for answer in topic.answers if answer != word]
            variables = {"topic": topic.name, "word": word, "percent": percent}
            target = [percent / 100, 1 - percent / 100]
            yield Drawn(seed, target, variables, [word, OTHERS], [[word], others], at_most=True)

    def variables(self, text: str) -> dict[str, Any]:
        """A topic, a word and its limit."""
        return {"topic": "a ship", "word": "ark", "percent": 30}
