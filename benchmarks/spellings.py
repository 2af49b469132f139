"""What a word has in other tokens than the tokenizer's own, measured: `python benchmarks/spellings.py MODEL_DIR [ADAPTER_DIR]`.

Every token sequence that spells a form is read, which grows twofold with each letter, so only short words are asked for. Printed
are how much the sum over all of them differs, the bound that records hold, and what it costs.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from outctl.inference.engine_check import prepare
from outctl.inference.prompts import build_prompts
from outctl.inference.unread_spellings import tokens_by_spelling
from outctl.inference.word_forms import token_bytes
from outctl.inference.word_probabilities import WordAnswer, WordQuestion, answer_questions, word_questions
from outctl.metrics.divergences import tvd
from outctl.models.loading import load_model
from outctl.tasks.cases import draw_samples
from outctl.tasks.kinds.given_words import GivenWords
from outctl.tasks.samples import Sample
from outctl.tasks.templates import load_template

LETTERS = 5


def segmentations(text: bytes, known: dict[bytes, list[int]]) -> Iterator[tuple[int, ...]]:
    """All token sequences that write a text."""
    if not text:
        yield ()
    for size in range(1, len(text) + 1):
        for token in known.get(text[:size], ()):
            yield from ((token, *rest) for rest in segmentations(text[size:], known))


def short_samples(count: int) -> list[Sample]:
    """Questions for two words of at most `LETTERS` letters."""
    case = GivenWords(kind="given_words", eval_samples=1)
    drawn = draw_samples(case, load_template("given_words"), "given_words", "eval", 100 * count, 0)
    return [sample for sample in drawn if all(len(word) <= LETTERS for word in sample.words or [])][:count]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="directory of a prepared model")
    parser.add_argument("adapter", type=Path, nargs="?", help="directory of an adapter")
    parser.add_argument("--samples", type=int, default=12)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, "float32", True, arguments.adapter)
    prepare(loaded)
    model, tokenizer, samples = loaded.model, loaded.tokenizer, short_samples(arguments.samples)
    prompts = build_prompts(tokenizer, [sample.messages for sample in samples], loaded.chat, loaded.options)
    own = word_questions(tokenizer, prompts, [sample.words or [] for sample in samples])
    size = model.get_input_embeddings().weight.shape[0]
    spellings, known = token_bytes(tokenizer, size), tokens_by_spelling(tokenizer, size)

    def written(form: tuple[int, ...]) -> bytes:
        return b"".join(spellings[token] for token in form)

    every = [
        WordQuestion(
            question.prompt,
            [
                sorted({path for form in forms for path in segmentations(written(form), known)})
                for forms in question.forms
            ],
        )
        for question in own
    ]
    answers: dict[str, list[WordAnswer]] = {}
    for name, questions in (("the tokenizer's split", own), ("all tokens", every)):
        began = time.process_time()
        answers[name] = list(answer_questions(model, tokenizer, questions))
        forms = sum(len(forms) for question in questions for forms in question.forms)
        print(f"{name}: {forms} token sequences, {time.process_time() - began:.1f} s of processor time")
    pairs = list(zip(*answers.values(), samples, strict=True))
    masses: list[list[float]] = [[], []]
    moved, bounds = [], []
    for split, whole, sample in pairs:
        target, distances = torch.tensor(sample.target), []
        for answer, found in zip((split, whole), masses, strict=True):
            log_p = torch.tensor(answer.log_probabilities)
            found.append(log_p.exp().sum().item())
            distances.append(tvd(log_p, target).item())
        moved.append(abs(distances[0] - distances[1]))
        bounds.append(split.unread)
    print("mean mass of the words:", " and ".join(f"{sum(found) / len(found):.5f}" for found in masses))
    print(f"largest change of a distance: {max(moved):.2g}; largest bound in a record: {max(bounds):.2g}")
    ratio = max(change / bound for change, bound in zip(moved, bounds, strict=True))
    print(f"largest ratio of a change to its bound: {ratio:.2f}")


if __name__ == "__main__":
    main()
