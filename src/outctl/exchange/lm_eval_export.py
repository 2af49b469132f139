"""The questions of cases as tasks of lm-evaluation-harness, in a directory that works without outctl."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from outctl.errors import OutctlError
from outctl.inference.word_forms import surface_forms
from outctl.storage.files import copy_file, whole_directory, write_jsonl, write_text
from outctl.tasks.samples import Sample

FUNCTIONS = "outctl_words"
"""Name of the module that stands beside the tasks, which is `lm_eval_functions.py` here."""
GROUP = "outctl"
"""Name of all tasks together."""
TASK = """\
task: outctl_{case}
custom_dataset: !function {functions}.questions
dataset_kwargs:
  file: {case}.jsonl
test_split: test
output_type: multiple_choice
description: system
doc_to_text: question
doc_to_choice: forms
# No form is the right one: the scores are computed from the likelihoods of all.
doc_to_target: 0
target_delimiter: ""
num_fewshot: 0
process_results: !function {functions}.scores
metric_list:
  - metric: tvd
    aggregation: mean
    higher_is_better: false
  - metric: within_tolerance
    aggregation: mean
    higher_is_better: true
  - metric: conditional_tvd
    aggregation: !function {functions}.defined_mean
    higher_is_better: false
  - metric: mass
    aggregation: mean
    higher_is_better: true
  - metric: control_slope
    aggregation: !function {functions}.slope
    higher_is_better: true
"""


def export_tasks(cases: Mapping[str, Sequence[Sample]], directory: Path) -> dict[str, str]:
    """Write a task a case, a group of them all, and what they call.

    Args:
        cases: samples by case.
        directory: where to write; an earlier export there is replaced.

    Returns:
        Why a case was left out, by case.

    Raises:
        OutctlError: the directory holds something else, or no case can be asked this way.
    """
    reasons = {case: _cannot_be_asked(samples) for case, samples in cases.items()}
    left_out = {case: reason for case, reason in reasons.items() if reason}
    chosen = [case for case in cases if case not in left_out]
    if not chosen:
        raise OutctlError("; ".join(f"{case}: {reason}" for case, reason in left_out.items()) or "no case to export")
    group = directory / f"{GROUP}.yaml"
    if directory.exists() and not (group.is_file() or (directory.is_dir() and not any(directory.iterdir()))):
        raise OutctlError(f"{directory}: is no earlier export and not empty; name another directory")
    with whole_directory(directory) as folder:
        for case in chosen:
            write_jsonl(folder / f"{case}.jsonl", map(_question, cases[case]))
            write_text(folder / f"{GROUP}_{case}.yaml", TASK.format(case=case, functions=FUNCTIONS))
        copy_file(Path(__file__).with_name("lm_eval_functions.py"), folder / f"{FUNCTIONS}.py")
        names = json.dumps([f"{GROUP}_{case}" for case in chosen])
        write_text(folder / group.name, f"group: {GROUP}\ntask: {names}\n")
    return left_out


def _cannot_be_asked(samples: Sequence[Sample]) -> str | None:
    """Why samples of a case cannot be put as likelihoods of continuations; None where they can."""
    if any(sample.words is None for sample in samples):
        return "the model picks the words itself"
    turns = {tuple(turn["role"] for turn in sample.messages) for sample in samples}
    if not turns <= {("user",), ("system", "user")}:
        return "the question has answered examples before it"
    return None


def _question(sample: Sample) -> dict[str, Any]:
    forms = [
        (form, number) for number, own in enumerate(sample.outcomes) for word in own for form in surface_forms(word)
    ]
    first = sample.messages[0]
    return {
        "sample_id": sample.sample_id,
        "system": first["content"] if first["role"] == "system" else "",
        "question": sample.messages[-1]["content"],
        "words": sample.words,
        "forms": [form for form, _ in forms],
        "owners": [number for _, number in forms],
        "target": sample.target,
        "at_most": sample.at_most,
        "tolerance": sample.tolerance,
    }
