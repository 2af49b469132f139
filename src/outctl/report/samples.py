"""Questions and answers for the sample browser, in as little room as they take."""

from collections.abc import Mapping, Sequence
from typing import Any

from outctl.report.blocks import rounded
from outctl.tasks.samples import Sample

SHOWN_TOKENS = 10
"""How many of an answer's likeliest first tokens the page shows."""


def questions(samples: Mapping[str, Sequence[Sample]]) -> dict[str, list[dict[str, Any]]]:
    """The questions of each case, which all models share, in the order of their answers."""
    return {
        case: [
            {
                "id": sample.sample_id,
                "messages": [[message["role"], message["content"]] for message in sample.messages],
                "target": sample.target,
                "atMost": sample.at_most,
                "tolerance": sample.tolerance,
            }
            for sample in own
        ]
        for case, own in samples.items()
    }


def answers(records: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> dict[str, dict[str, list[Any]]]:
    """The answers of a model by variant and case.

    Args:
        records: its records by variant and case, as its results hold them.
    """
    return {
        variant: {case: [_answer(record) for record in found] for case, found in own.items()}
        for variant, own in records.items()
    }


def _answer(record: Mapping[str, Any]) -> dict[str, Any]:
    answer = {
        "words": record["words"],
        "p": [rounded(value) for value in record["probabilities"]],
        "other": rounded(record["other_mass"]),
        "tvd": rounded(record["tvd"]),
        "ok": record["within_tolerance"],
        "tokens": [[token["text"], rounded(token["probability"], 3)] for token in record["top_tokens"][:SHOWN_TOKENS]],
    }
    if record["words_valid"] is not None:
        answer["valid"] = record["words_valid"]
    if record["free_share"] is not None:
        answer["free"] = rounded(record["free_share"])
    return answer
