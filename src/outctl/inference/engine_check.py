"""Choose the engine of a model by trying: what it gives must equal the model's own plain passes.

Two sequences of some forty tokens go through the model one at a time, without padding, cache or tree. Against their logits
are held, in this order:

1. *Causal.* Other tokens at the end, or none, leave the logits before them alone. Whatever
   looks ahead is refused.
2. *Rows.* The same sequences in one pass, padded on the right.
3. *Shared beginnings.* The ends alone, behind a copied cache of the beginning; and token by token behind the cache itself.
4. *Tree.* The same sequences in one token tree, and behind a cached prefix.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from outctl.config.models import EngineChoice
from outctl.errors import OutctlError, first_line
from outctl.inference.engine import Engine, attention_window, attention_windows, base_of, keep_engine, most_positions
from outctl.inference.rows import Row, read_next, read_rows
from outctl.inference.tree_attention import TREE_ATTENTION, UnknownAttentionError, tree_inputs
from outctl.inference.tree_forward import CachedTree, logits_at, on_device
from outctl.machine.known_engines import KNOWN_ENGINES
from outctl.models.loading import LoadedModel

STEM = 40
"""Tokens of the beginning that the trial's sequences share."""
LONGEST_STEM = 320
"""Tokens of it at most, where a narrow attention window asks for more."""
EXACT = 1e-4
"""Difference in float32 that rounding explains, as a part of the norm of a position's logits."""
ROUNDED = 0.05
"""The same in 16 bits, for the middle one of the positions: single ones go further, where a router changes its mind."""

_FAILURES = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    OutctlError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What models raise that are asked for something they do not know."""


def prepare(loaded: LoadedModel, engine: EngineChoice = "auto") -> None:
    """Choose the engine of a loaded model, and say in its description which one it is and why.

    Args:
        loaded: the model, with or without an adapter.
        engine: `rows` where the tree is not to be used.

    Raises:
        OutctlError: no engine is right for the model.
    """
    loaded.description["engine"] = str(choose_engine(loaded.model, only_rows=engine == "rows"))


class _UnfitError(Exception):
    """An attempt that a model does not take part in; the text says why."""


class _Trial(NamedTuple):
    """Two sequences, and the logits (T, V) of each in a pass of its own.

    Attributes:
        stem: the beginning that they share.
        ends: what follows it.
        plain: their logits.
    """

    stem: list[int]
    ends: list[list[int]]
    plain: list[Tensor]

    def cut(self) -> list[list[int]]:
        """The ends, the second one without its last token, so that rows of them need padding."""
        return [self.ends[0], self.ends[1][:-1]]

    def expected(self) -> list[Tensor]:
        """The logits behind the stem's last token and behind each token of the ends that are cut."""
        known = len(self.stem)
        return [logits[known - 1 : known + len(end)] for logits, end in zip(self.plain, self.cut(), strict=True)]


@torch.inference_mode()
def choose_engine(model: Any, only_rows: bool = False) -> Engine:
    """Find the engine that is right for a model, and keep the choice on it.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter, in evaluation mode.
        only_rows: whether to use rows where the tree would do.

    Raises:
        OutctlError: the model is not causal, or no engine gives what its plain passes give.
    """
    kind = model.config.model_type
    window = attention_window(model)
    try:
        trial = _try_plain(model, _length(model))
        ahead = _looks_ahead(model, trial)
    except _FAILURES as error:
        raise OutctlError(
            f"models of type {kind!r} cannot be asked ({first_line(error)}); choose another model"
        ) from error
    if ahead > _tolerance(model):
        raise OutctlError(
            f"models of type {kind!r} are not causal: later tokens change the logits of earlier ones by {ahead:.2g} of "
            "their norm; choose a model that generates text from left to right"
        )
    wrong = _wrong(model, lambda: _in_rows(model, trial), trial)
    if wrong:
        raise OutctlError(f"models of type {kind!r} cannot be asked in rows ({wrong}); choose another model")
    shares, steps = _caching(model, trial)
    # What was tried behind all windows holds for all lengths.
    proven = min((limit for limit in attention_windows(model) if limit >= len(trial.stem)), default=None)
    reason = "asked for" if only_rows else _no_tree(model, trial, window)
    engine = Engine("rows" if reason else "tree", reason or "proven against plain passes", shares, steps, proven)
    keep_engine(model, engine)
    return engine


def _length(model: Any) -> int:
    """Tokens of the stem: beyond all attention windows that are short enough to be tried."""
    length = max([STEM, *(window + 8 for window in attention_windows(model) if window + 8 <= LONGEST_STEM)])
    limit = most_positions(model)
    return length if limit is None else max(1, min(length, limit[1] - 4))


def _try_plain(model: Any, length: int) -> _Trial:
    size: int = model.get_input_embeddings().weight.shape[0]
    # The first ids are special tokens in most vocabularies; some models read their padding token in its own way.
    first = 5 if size > 64 else 0

    def token(number: int) -> int:
        return first + number % (size - first)

    stem = [token(7 * i) for i in range(length)]
    ends = [[token(12), token(31), token(14)], [token(23), token(8), token(2)]]
    return _Trial(stem, ends, [_plain(model, stem + end) for end in ends])


def _plain(model: Any, tokens: list[int]) -> Tensor:
    """(T, V) logits of one sequence in a pass of its own."""
    (logits,), _ = read_rows(model, [Row(tokens, range(len(tokens)))])
    if logits.shape[0] != len(tokens):
        raise ValueError(f"it gives logits at {logits.shape[0]} of {len(tokens)} positions")
    return logits


def _looks_ahead(model: Any, trial: _Trial) -> float:
    """By how much other tokens at the end, or none, change the logits before them."""
    alone = _plain(model, trial.stem)
    return max(_reduced(model)(_difference(alone, logits[: len(alone)])) for logits in trial.plain)


def _difference(expected: Tensor, found: Tensor) -> Tensor:
    """(T,) norm of the difference at each position, as a part of the norm of what is expected."""
    smallest = torch.finfo(expected.dtype).tiny
    difference: Tensor = (expected - found.to(expected.device)).norm(dim=-1)
    part: Tensor = difference / expected.norm(dim=-1).clamp_min(smallest)
    return part


def _is_exact(model: Any) -> bool:
    return model.dtype in (torch.float32, torch.float64) and not getattr(base_of(model), "is_quantized", False)


def _tolerance(model: Any) -> float:
    return EXACT if _is_exact(model) else ROUNDED


def _reduced(model: Any) -> Callable[[Tensor], float]:
    """The one number of all positions' differences that counts; NaN counts as more than any number."""

    def reduced(differences: Tensor) -> float:
        values = differences.nan_to_num(nan=torch.inf)
        return (values.max() if _is_exact(model) else values.median()).item()

    return reduced


def _wrong(model: Any, attempt: Callable[[], Sequence[Tensor]], trial: _Trial) -> str:
    """What is wrong with the logits that an attempt gives at the trial's ends; nothing where they are right."""
    try:
        found = attempt()
    except _UnfitError as error:
        return str(error)
    except _FAILURES as error:
        return f"{type(error).__name__}: {first_line(error)}"
    expected = trial.expected()
    behind = torch.cat([_difference(one, other) for one, other in zip(expected, found, strict=False)])
    difference = _reduced(model)(behind)
    return "" if difference <= _tolerance(model) else f"logits differ by {difference:.2g} of their norm"


def _in_rows(model: Any, trial: _Trial) -> list[Tensor]:
    known = len(trial.stem)
    rows = [Row(trial.stem + end, range(known - 1, known + len(end))) for end in trial.cut()]
    return read_rows(model, rows)[0]


class _Cached:
    """A state behind the beginning of the trial's sequences, and the logits behind its last token, (1, V)."""

    def __init__(self, model: Any, trial: _Trial, known: int) -> None:
        self.model = model
        self.trial = trial
        self.known = known
        (self.logits,), state = read_rows(model, [Row(trial.stem[:known], [known - 1])], keep=True)
        if state is None or state.cache is None:
            raise TypeError("the model gives no cache back")
        self.state = state

    def shared(self) -> list[Tensor]:
        """What follows, behind a copied cache."""
        rest = self.trial.stem[self.known :]
        last = max(len(rest) - 1, 0)
        rows = [Row(rest + end, range(last, len(rest) + len(end))) for end in self.trial.cut()]
        behind, _ = read_rows(self.model, rows, self.state)
        return behind if rest else [torch.cat([self.logits, own]) for own in behind]

    def step_by_step(self) -> list[Tensor]:
        """The first end token by token behind the cache itself, as generation does it; copies must have left it alone."""
        parts = [self.logits]
        state = self.state
        for token in self.trial.ends[0]:
            logits, state = read_next(self.model, state, [token])
            parts.append(logits)
        return [torch.cat(parts)]


def _caching(model: Any, trial: _Trial) -> tuple[bool, bool]:
    """Whether rows may share a copied cache, and whether the cache may grow token by token."""
    known = len(trial.stem)
    try:
        # Much behind little, across attention windows, and little behind much.
        early, late = _Cached(model, trial, max(1, known // 5)), _Cached(model, trial, known)
    except _FAILURES:
        return False, False
    shares = not _wrong(model, early.shared, trial) and not _wrong(model, late.shared, trial)
    return shares, not _wrong(model, late.step_by_step, trial)


def _no_tree(model: Any, trial: _Trial, window: int | None) -> str:
    """Why a model does not take tree attention; nothing where it does. It is left with the attention that it keeps."""
    if window is not None and window < STEM + 8:
        return f"it attends to {window} tokens only"
    if len(trial.stem) > STEM:
        trial = _try_plain(model, STEM)
    kind = model.config.model_type
    if not _is_exact(model) and not KNOWN_ENGINES.get(kind, "").startswith("tree"):
        return "tree attention is not proven in float32 for this type"
    own = _attention_of(model.config)
    wrong = _wrong(model, lambda: _in_tree(model, trial), trial)
    if wrong:
        base_of(model).set_attn_implementation(own)
    return wrong


def _attention_of(config: Any) -> dict[str, Any]:
    """The attention of a model and of its parts, which need not all support the same, as transformers takes it."""
    parts = {name: getattr(config, name, None) for name in config.sub_configs}
    return {"": config._attn_implementation} | {
        name: _attention_of(part) for name, part in parts.items() if part is not None
    }


def _in_tree(model: Any, trial: _Trial) -> list[Tensor]:
    try:
        base_of(model).set_attn_implementation(TREE_ATTENTION)
        cached = CachedTree(model, trial.stem)
        paths = [cached.tree.insert(trial.stem + end)[len(trial.stem) - 1 :] for end in trial.cut()]
        behind_prefix = cached.logits_at([node for path in paths for node in path[1:]])
        inputs = on_device(tree_inputs(cached.tree, model.dtype), model.device)
        nodes = torch.tensor([node for path in paths for node in path], device=model.device)
        together = logits_at(model, inputs, nodes).split_with_sizes([len(path) for path in paths])
    except UnknownAttentionError as error:
        raise _UnfitError(str(error)) from error
    except _FAILURES as error:
        raise _UnfitError("its layers take no token tree") from error
    # The stem's last token is part of the prefix, so nothing behind the prefix includes it.
    behind = behind_prefix.split_with_sizes([len(path) - 1 for path in paths])
    worst = max(
        _reduced(model)(
            torch.cat(
                [_difference(one[-len(other) :], other) for one, other in zip(trial.expected(), found, strict=True)]
            )
        )
        for found in (together, behind)
    )
    if worst > _tolerance(model):
        raise _UnfitError(f"branches of a token tree are not kept apart: logits differ by {worst:.2g} of their norm")
    return list(together)
