"""Write the page of model types, and the list of their engines: `python docs/generate/model_types.py docs/models.md`.

A tiny random model of every causal and image-text type that transformers lists is asked in text, each in a process of its own
with a time limit. What its engine gives is compared with plain passes, one per form of a word, with no cache and no padding.
"""

import inspect
import json
import os
import re
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
import transformers
from tiny_models import IMAGE_TEXT, TYPES, VOCABULARY, tiny_model
from torch import Tensor

from outctl.errors import OutctlError, first_line
from outctl.inference.branches import begin, next_token_logits
from outctl.inference.engine_check import choose_engine
from outctl.inference.generation import continuations
from outctl.inference.prompts import Prompt
from outctl.inference.token_tree import TokenTree
from outctl.inference.word_probabilities import (
    WordQuestion,
    lay_out,
    logits_below,
    shared_prefix,
    word_log_probabilities,
)
from outctl.storage.files import write_text

ENGINES = Path(__file__).parents[2] / "src" / "outctl" / "machine" / "known_engines.py"
LIMIT = 120
"""Seconds for one type."""
NOT_TEXT = {
    "fast_vlm": "its vision tower needs the package timm",
    "perception_lm": "its vision tower needs the package timm",
    "gemma3n": "its vision tower needs the package timm; `gemma3n_text` is its language model",
    "gemma4_assistant": "it drafts for another model and reads that model's hidden states",
    "gemma4_unified_assistant": "it drafts for another model and reads that model's hidden states",
    "musicgen": "it generates codes of sound, and its class takes the decoder's configuration alone",
    "musicgen_melody": "it generates codes of sound, and its class takes the decoder's configuration alone",
}
"""Types that are not tried, and why."""
PAGE = """<!-- Made by `python docs/generate/model_types.py docs/models.md`. -->

# Types of models

transformers {version} lists {types} types of models for causal language modelling. A tiny model of each, with random
weights in float32, was asked: {causal}.
A [second table](#image-text-models) has the image-text models.

- `tree`: the prompts and forms of a batch stand in one token tree, and each shared token is computed once.
- `rows`: one padded row per form. Shared beginnings are computed once where the model's cache can be copied. Slower than the
  tree, and right for every causal model.
- `refused`: loading the model fails with one line.

Whatever the type, the same check runs each time a model is loaded. `outctl models` and the provenance of every output name the
engine. *Difference* is the largest difference to plain passes among the probabilities of six words and of all first tokens,
*gradients* that of a training step's gradients, as a part of their norm. Text is compared too: greedy continuations equal those
of plain passes.

Encoders are refused as they come. Those whose row says `with` were tried again with that key in their configuration."""
IMAGE_TEXT_PART = """
## Image-text models

{types} more types read images and text, and have no class for causal language modelling. They are loaded by their own class and
asked in text alone: {found}.
Adapters change the language layers only.
"""
MODULE = '''"""The engine of each type of model, by trial; made by `python docs/generate/model_types.py docs/models.md`."""
'''
REASONS = {"its layers take no token tree": "its layers attend, or carry a state, in their own way"}


class Outcome(NamedTuple):
    """What came of one type: `tree`, `rows`, `refused`, or `not built`."""

    engine: str
    reason: str
    difference: float | None = None
    gradient: float | None = None
    text: bool | None = None


class _Tokenizer:
    """What generation needs of a tokenizer: texts are the tokens' numbers."""

    pad_token_id = 0
    eos_token_id = None

    def batch_decode(self, rows: Any, skip_special_tokens: bool = True) -> list[str]:
        return [" ".join(map(str, torch.as_tensor(row).tolist())) for row in rows]


def questions() -> list[WordQuestion]:
    """Three prompts of 37 to 83 tokens that begin alike, with two words of three forms each."""
    random = Random(1)
    draw = _drawing(random)
    stem = draw(30)
    forms = [[tuple(draw(size)) for size in (1, 2, 3)] for _ in range(2)]
    return [WordQuestion((*stem, *draw(size)), forms) for size in (7, 21, 53)]


def _drawing(random: Random) -> Callable[[int], list[int]]:
    """Draw so many tokens; those below 5 may be special ones."""
    return lambda count: [random.randrange(5, VOCABULARY) for _ in range(count)]


def lengthens(size: int) -> Tensor:
    """(size,) which tokens make a longer word: every third one."""
    return torch.arange(size) % 3 == 0


def plain_logits(model: Any, tokens: Sequence[int]) -> Tensor:
    """(T, V) logits of one sequence in a pass of its own."""
    known = inspect.signature(model.forward).parameters
    caching = {"use_cache": False} if "use_cache" in known else {}
    logits: Tensor = model(input_ids=torch.tensor([tokens]), **caching).logits[0]
    return logits


def plain(model: Any, question: WordQuestion) -> Tensor:
    """(K,) probability of each word, from one plain pass per form."""
    words = []
    for forms in question.forms:
        total = torch.zeros((), dtype=torch.float64)
        for form in forms:
            log_p = plain_logits(model, [*question.prompt, *form]).double().log_softmax(-1)
            known = len(question.prompt)
            along = torch.stack([log_p[known - 1 + place, token] for place, token in enumerate(form)]).sum()
            end = log_p[-1].exp()[~lengthens(log_p.shape[-1])].sum().log()
            total = total + (along + end).exp()
        words.append(total)
    return torch.stack(words)


def measure(kind: str, **options: Any) -> Outcome:
    """Ask a tiny model of a type, and compare with plain passes."""
    try:
        model = tiny_model(kind, **options)
    except OutctlError as error:
        return _refused(error)
    # Libraries fail in any way at a configuration that they do not like.
    except Exception as error:
        return Outcome("not built", f"{type(error).__name__}: {first_line(error)}")
    try:
        engine = choose_engine(model)
    except OutctlError as error:
        return _refused(error)
    # Texts are to be as long as plain passes make them.
    model.generation_config.eos_token_id = None
    asked = questions()
    with torch.no_grad():
        expected = torch.stack([plain(model, question) for question in asked])
    layout, logits = logits_below(begin(model, shared_prefix([one.prompt for one in asked])), asked)
    found = word_log_probabilities(logits, layout, lengthens(logits.shape[-1])).exp()
    words = (found.double() - expected).abs().max()
    with torch.no_grad():
        behind = [plain_logits(model, one.prompt)[-1].double() for one in asked]
    tokens = logits[layout.prompt_rows].double().softmax(-1) - torch.stack(behind).softmax(-1)
    difference = max(words, tokens.abs().max()).item()
    return Outcome(
        engine.name,
        REASONS.get(engine.reason, engine.reason),
        difference,
        gradient_difference(model, asked[:1]),
        same_text(model, asked[:2]),
    )


def _refused(error: OutctlError) -> Outcome:
    return Outcome("refused", str(error).split("' ", 1)[-1].split("; choose")[0])


def gradient_difference(model: Any, asked: list[WordQuestion]) -> float | None:
    """Difference between a training step's gradients and those of plain passes, as a part of their norm."""
    weights = [weight for weight in model.parameters() if weight.requires_grad and weight.is_floating_point()]
    tree = TokenTree()
    layout = lay_out(asked, tree)
    logits = next_token_logits(model, tree, layout.nodes.tolist())
    found = word_log_probabilities(logits, layout, lengthens(logits.shape[-1])).sum()
    expected = sum(plain(model, question).log().sum() for question in asked)
    one = torch.autograd.grad(found, weights, allow_unused=True)
    other = torch.autograd.grad(expected, weights, allow_unused=True)
    pairs = [(a.double(), b.double()) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    norm = sum(b.square().sum() for _, b in pairs) ** 0.5
    return float(sum((a - b).square().sum() for a, b in pairs) ** 0.5 / norm)


def same_text(model: Any, asked: list[WordQuestion]) -> bool:
    """Whether greedy continuations are those of plain passes."""
    prompts = [Prompt("", question.prompt) for question in asked]
    found = [one.text for one in continuations(model, _Tokenizer(), prompts, 4)]
    expected = []
    for question in asked:
        tokens = list(question.prompt)
        for _ in range(4):
            with torch.no_grad():
                tokens.append(int(plain_logits(model, tokens)[-1].argmax()))
        expected.append(" ".join(map(str, tokens[-4:])))
    return found == expected


def apart(work: Callable[[], Outcome]) -> Outcome:
    """Do it in a process of its own, so that a crash costs one row."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(LIMIT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            found = work()
        except BaseException as error:
            found = Outcome("wrong", f"{type(error).__name__}: {first_line(error)}")
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return Outcome(*json.loads(text)) if text else Outcome("not built", f"it ended by signal {status & 127}")


def outcome_of(kind: str) -> Outcome:
    """What came of a type; encoders that can be told to generate text are tried so too."""
    if kind in NOT_TEXT:
        return Outcome("not built", NOT_TEXT[kind])
    found = apart(lambda: measure(kind))
    if found.engine == "refused" and "not causal" in found.reason:
        for key in ("is_decoder", "causal"):
            told = apart(lambda key=key: measure(kind, **{key: True}))  # type: ignore[misc]
            if told.engine in ("tree", "rows"):
                return told._replace(engine=f"{told.engine}, with `{key}: true`", reason=told.reason)
    return found


def known_as(outcome: Outcome) -> str:
    """The entry in the list of engines: the engine, and why it is not the tree."""
    name = outcome.engine.replace(", with `", " with ").replace(": true`", "")
    return name if name.startswith("tree") else f"{name}: {re.split(': logits| [(]', outcome.reason)[0]}"


def module(known: dict[str, str]) -> str:
    """The list of engines, in Python, so that a change of it makes stale what depends on it."""
    kinds: dict[str, list[str]] = {}
    for kind in sorted(known):
        kinds.setdefault(known[kind], []).append(kind)
    entries = ""
    for engine in sorted(kinds):
        lines = "\n".join(
            f"        {line}" for line in textwrap.wrap(" ".join(kinds[engine]), 110, break_on_hyphens=False)
        )
        entries += f'    {json.dumps(engine)}: """\n{lines}\n    """,\n'
    return (
        f"{MODULE}\nTYPES = {{\n{entries}}}\n"
        '"""The types of each engine: `tree`, or `rows` or `refused` and why."""\n'
        "KNOWN_ENGINES = {kind: engine for engine, kinds in TYPES.items() for kind in kinds.split()}\n"
        '"""The engine of each type."""\n'
    )


def _tried(kind: str) -> Outcome:
    found = outcome_of(kind)
    print(kind, *found, flush=True)
    return found


def page(outcomes: dict[str, Outcome]) -> str:
    """The page, in Markdown."""
    causal = {kind: outcome for kind, outcome in outcomes.items() if kind in TYPES}
    others = {kind: outcome for kind, outcome in outcomes.items() if kind in IMAGE_TEXT}
    lines = [PAGE.format(version=transformers.__version__, types=len(causal), causal=_counted(causal)), ""]
    if any(outcome.text is False for outcome in outcomes.values()):
        lines += ["Greedy continuations differ from plain passes where the reason says so.", ""]
    return "\n".join(
        [
            *lines,
            *_table(causal),
            IMAGE_TEXT_PART.format(types=len(others), found=_counted(others)),
            *_table(others),
            "",
        ]
    )


def _counted(outcomes: dict[str, Outcome]) -> str:
    """How many types came out how."""
    engines = [outcome.engine.split(",")[0] for outcome in outcomes.values()]
    tree, rows, refused = (engines.count(name) for name in ("tree", "rows", "refused"))
    return (
        f"{tree} types run on the token tree, {rows} on rows, {refused} are refused, and "
        f"{len(engines) - tree - rows - refused} could not be built"
    )


def _table(outcomes: dict[str, Outcome]) -> list[str]:
    lines = ["| type | engine | why | difference | gradients |", "|---|---|---|---|---|"]
    for kind, outcome in outcomes.items():
        reason = outcome.reason + ("; greedy continuations differ" if outcome.text is False else "")
        numbers = ("" if value is None else f"{value:.0e}" for value in (outcome.difference, outcome.gradient))
        lines.append(f"| `{kind}` | {outcome.engine} | {reason.replace('|', '/')} | {' | '.join(numbers)} |")
    return lines


def main(file: Path, kinds: list[str]) -> None:
    """Try all types, or some of them, whose rows alone are printed then."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    chosen = kinds or [*TYPES, *IMAGE_TEXT]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = dict(zip(chosen, pool.map(_tried, chosen), strict=True))
    if not kinds:
        write_text(file, page(outcomes))
        known = {kind: known_as(outcome) for kind, outcome in outcomes.items() if outcome.difference is not None}
        known |= {kind: known_as(outcome) for kind, outcome in outcomes.items() if outcome.engine == "refused"}
        write_text(ENGINES, module(known))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
