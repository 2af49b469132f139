"""The samples of a case as a task of Inspect, for models behind an interface: answers are drawn and counted.

Inspect finds this module by the project's entry point, so that `inspect eval outctl/output_control` knows it. What takes
long to import is imported where it is used, as Inspect loads the module for the tasks of other packages too.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as Question
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    ScoreReducer,
    Target,
    mean,
    mean_score,
    metric,
    score_reducer,
    scorer,
    stderr,
)
from inspect_ai.solver import TaskState, generate

from outctl.errors import OutctlError
from outctl.tasks.samples import Message, Sample, read_samples

ANSWER_TOKENS = 16
"""Length of an answer at most: enough for a word and what ends it."""
TURNS = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
SPACES = str.maketrans("Ġ▁", "  ")
"""How vocabularies spell the space in front of a token, for interfaces that give tokens in that spelling."""


@metric
def control_slope() -> Metric:
    """Least-squares slope of the first word's share on the asked share: 1 is control, 0 is ignoring the number."""
    from outctl.metrics import statistics

    def measure(scores: list[SampleScore]) -> float:
        targets = [(score.sample_metadata or {})["target"][0] for score in scores]
        return statistics.control_slope(targets, [score.score.as_float() for score in scores])

    return measure


@score_reducer(name="pooled")
def pooled() -> ScoreReducer:
    """One score of all epochs: the counts of drawn answers are added up, what is no count is averaged."""

    def reduce(scores: list[Score]) -> Score:
        drawn = [score.metadata for score in scores if score.metadata and "counts" in score.metadata]
        if not drawn:
            return mean_score()(scores)
        counts = [sum(own) for own in zip(*(metadata["counts"] for metadata in drawn), strict=True)]
        return _frequencies(counts, len(drawn), drawn[0])

    return reduce


def _frequencies(counts: Sequence[int], draws: int, about: dict[str, Any], answer: str | None = None) -> Score:
    from outctl.exchange.answers import frequency_scores

    values = frequency_scores(counts, draws, about["target"], about["at_most"])
    keep = {key: about[key] for key in ("words", "target", "at_most")}
    return Score(value=values, answer=answer, metadata={**keep, "counts": list(counts), "draws": draws})


@scorer(
    metrics={
        "tvd": [mean(), stderr()],
        "sampling_floor": [mean()],
        "conditional_tvd": [mean(), stderr()],
        "mass": [mean(), stderr()],
        "first_share": [control_slope()],
    }
)
def answer_frequencies() -> Scorer:
    """Distance between the target and the frequencies of drawn answers, beside what sampling alone makes of it."""
    from outctl.exchange.answers import answered

    async def score(state: TaskState, target: Target) -> Score:
        about, output = state.metadata, state.output
        number = answered(output.completion, about["outcomes"], cut=output.stop_reason == "max_tokens")
        counts = [int(number == word) for word in range(len(about["words"]))]
        return _frequencies(counts, 1, about, "(anything else)" if number is None else about["words"][number])

    return score


@scorer(
    metrics={
        "first_token_tvd": [mean(), stderr()],
        "first_token_conditional_tvd": [mean(), stderr()],
        "first_token_mass": [mean(), stderr()],
        "first_token_first_share": [control_slope()],
    }
)
def first_token() -> Scorer:
    """Distance between the target and the first token's probabilities, of the likeliest ones that the interface lists."""
    from outctl.exchange.answers import distribution_scores, first_token_probabilities

    async def score(state: TaskState, target: Target) -> Score:
        top = _top_tokens(state.output)
        if not top:
            return Score.unscored(reason="scoring_failed", explanation="the model's interface gives no top logprobs")
        probabilities = first_token_probabilities(top, state.metadata["outcomes"])
        about = state.metadata
        values = distribution_scores(probabilities, about["target"], about["at_most"])
        return Score(
            value={f"first_token_{name}": value for name, value in values.items()},
            metadata={"words": about["words"], "target": about["target"], "probabilities": probabilities},
        )

    return score


def _top_tokens(output: ModelOutput) -> list[tuple[str, float]]:
    """Text and probability of the likeliest first tokens; empty where the interface gives none."""
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content:
        return []
    return [(top.token.translate(SPACES), math.exp(top.logprob)) for top in logprobs.content[0].top_logprobs or []]


def chat_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    """A conversation in Inspect's classes."""
    return [
        TURNS[turn["role"]](content=turn["content"], id=f"{number}-{turn['role']}")
        for number, turn in enumerate(messages)
    ]


def _question(sample: Sample) -> Question:
    return Question(
        id=sample.sample_id,
        input=chat_messages(sample.messages),
        target=sample.words or [],
        metadata={
            "words": sample.words,
            "outcomes": sample.outcomes,
            "target": sample.target,
            "at_most": sample.at_most,
        },
    )


@task
def output_control(samples: str, draws: int = 50, top_logprobs: int = 0) -> Task:
    """Ask a case's samples many times at temperature 1, and score the frequencies of the answers.

    Args:
        samples: the case's samples, such as results/samples/given_words/eval.jsonl.
        draws: answers to each sample; `--epochs` overrides it.
        top_logprobs: how many of the likeliest first tokens to ask for, to score them too; 0 where the interface gives none.

    Raises:
        PrerequisiteError: the file holds no samples, or some whose words the model picks itself. Inspect prints its text alone.
    """
    try:
        rows = read_samples(Path(samples))
    except OutctlError as error:
        raise PrerequisiteError(str(error)) from None
    if rows[0].words is None:
        raise PrerequisiteError(f"{samples}: the model picks the words itself there; take a case that names its words")
    return Task(
        dataset=MemoryDataset([_question(row) for row in rows], name=rows[0].case, location=samples),
        solver=generate(),
        scorer=[answer_frequencies(), *([first_token()] if top_logprobs else [])],
        epochs=Epochs(draws, pooled()),
        config=GenerateConfig(
            temperature=1.0,
            max_tokens=ANSWER_TOKENS,
            logprobs=True if top_logprobs else None,
            top_logprobs=top_logprobs or None,
        ),
    )
