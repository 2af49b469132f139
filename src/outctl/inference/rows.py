"""Next-token logits at nodes of a token tree by plain passes: one row per sequence, padded on the right.

This is right for every causal language model, whatever it carries from token to token: what stands to the right of a token
changes nothing at it. What rows share is computed once where the model's cache may be copied, which
`outctl.inference.engine_check` finds out; elsewhere every row is computed whole.
"""

import inspect
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from outctl.errors import OutctlError
from outctl.inference.engine import base_of, check_length, engine_of
from outctl.inference.passes import tokens_that_fit
from outctl.inference.token_tree import TokenTree

UNEVEN = 8
"""Tokens by which rows of one pass may differ in length: a pass computes logits at every position that one of them needs."""
WORTH_A_PASS = {"cpu": 32, "cuda": 2048}
"""Tokens that a pass of its own must save before what some rows share is computed apart."""
CACHES = ("past_key_values", "cache_params", "state")
"""Names under which models take and give back what they carry from token to token."""


class Row(NamedTuple):
    """One sequence, or the rest of one behind a cached beginning.

    Attributes:
        tokens: its tokens.
        wanted: positions in it behind which logits are wanted.
    """

    tokens: Sequence[int]
    wanted: Sequence[int]


class State(NamedTuple):
    """What a model carries behind sequences of one length: its cache, and the length."""

    cache: Any
    length: int

    def copies(self, rows: int) -> Any:
        """A cache of so many equal rows, to be written to, from a state of one row; the state stays as it is.

        Raises:
            TypeError: the model's cache cannot be repeated.
        """
        cache = deepcopy(self.cache)
        return cache if rows == 1 else _repeated(cache, rows)


def _repeated(cache: Any, rows: int) -> Any:
    if hasattr(cache, "reorder_cache"):
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long, device=_device_of(cache)))
        return cache
    if isinstance(cache, list | tuple):
        return type(cache)(_repeated(part, rows) for part in cache)
    if isinstance(cache, Tensor):
        return cache.repeat_interleave(rows, 0)
    raise TypeError(f"a cache of type {type(cache).__name__} cannot be repeated")


def _device_of(cache: Any) -> torch.device | None:
    """The device of a cache's tensors; None where it has none."""
    for layer in getattr(cache, "layers", ()):
        for value in vars(layer).values():
            if isinstance(value, Tensor):
                return value.device
    return None


def read_rows(
    model: Any, rows: Sequence[Row], state: State | None = None, keep: bool = False
) -> tuple[list[Tensor], State | None]:
    """Read rows in one pass.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter.
        rows: B rows; with `keep`, all of one length.
        state: what each of them continues from, of one row; None begins them.
        keep: whether to give the state behind the rows back.

    Returns:
        For each row its logits (len(wanted), V) in float32, and the state.

    Raises:
        OutctlError: a row is longer than the model has positions for.
    """
    known = 0 if state is None else state.length
    width = max(len(row.tokens) for row in rows)
    check_length(model, known + width)
    accepted = inspect.signature(base_of(model).forward).parameters
    # Any token would do to fill a row up, and no mask is needed: nothing to the left of it changes.
    filled = [[*row.tokens, *[row.tokens[-1]] * (width - len(row.tokens))] for row in rows]
    inputs: dict[str, Any] = {"input_ids": torch.tensor(filled, device=model.device)}
    if "use_cache" in accepted or any(one.kind is one.VAR_KEYWORD for one in accepted.values()):
        inputs["use_cache"] = keep or state is not None
    if state is not None:
        inputs[cache_name(model)] = state.copies(len(rows))
    kept = sorted({position for row in rows for position in row.wanted})
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = torch.tensor(kept, dtype=torch.long, device=model.device)
    else:
        kept = list(range(width))
    try:
        output = model(**inputs)
    except IndexError as error:
        raise OutctlError(
            f"a prompt of {known + width} tokens is longer than the model has positions for; shorten the prompt template"
        ) from error
    columns = {position: column for column, position in enumerate(kept)}
    logits = [
        own[torch.tensor([columns[position] for position in row.wanted], dtype=torch.long, device=own.device)].float()
        for own, row in zip(output.logits, rows, strict=True)
    ]
    return logits, State(getattr(output, cache_name(model)), known + width) if keep else None


def read_next(model: Any, state: State, tokens: Sequence[int]) -> tuple[Tensor, State]:
    """Read one more token of each row, (B,), and give the logits (B, V) in float32 behind it; the state's cache is used up."""
    ids = torch.tensor(tokens, device=model.device)[:, None]
    check_length(model, state.length + 1)
    output = model(input_ids=ids, use_cache=True, **{cache_name(model): state.cache})
    return output.logits[:, -1].float(), State(getattr(output, cache_name(model)), state.length + 1)


def cache_name(model: Any) -> str:
    """The argument in which a model takes its cache, and the attribute of its output that gives it back.

    Raises:
        TypeError: it has none.
    """
    accepted = inspect.signature(base_of(model).forward).parameters
    for name in CACHES:
        if name in accepted:
            return name
    raise TypeError("the model has no cache")


def even_parts(rows: Sequence[Row], tokens: int) -> Iterator[list[int]]:
    """Cut rows into passes of at most so many tokens, and of rows of about the same length; gives their numbers."""
    part: list[int] = []
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number].tokens)):
        length = len(rows[number].tokens)
        if part and (length * (len(part) + 1) > tokens or length - len(rows[part[0]].tokens) > UNEVEN):
            yield part
            part = []
        part.append(number)
    if part:
        yield part


def row_logits(model: Any, tree: TokenTree, nodes: Sequence[int], tokens: int | None = None) -> Tensor:
    """Logits (len(nodes), V) in float32 behind nodes of a tree, from whole rows; differentiable in the model's weights.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter.
        tree: the tree.
        nodes: nodes of it.
        tokens: tokens of a pass; no limit if None.

    Raises:
        OutctlError: a sequence is longer than the model has positions for.
    """
    paths = _paths(tree, nodes, dict.fromkeys(nodes, -1))
    found: dict[int, Tensor] = {}
    _read_paths(model, tree, paths, set(nodes), None, tokens, found)
    return _stacked(model, [found[node] for node in nodes])


def _stacked(model: Any, logits: Sequence[Tensor]) -> Tensor:
    """Logits one below the other; of none, none."""
    return torch.stack(list(logits)) if logits else torch.empty(0, model.config.get_text_config().vocab_size)


def _paths(tree: TokenTree, nodes: Sequence[int], starts: dict[int, int]) -> list[list[int]]:
    """The nodes from each start, exclusive, down to each of `nodes` that is on the way to no other one."""
    inner: set[int] = set()
    for node in nodes:
        above = tree.parents[node]
        while above != starts[node] and above not in inner:
            inner.add(above)
            above = tree.parents[above]
    paths = []
    for node in dict.fromkeys(nodes):
        if node not in inner:
            path = []
            at = node
            while at != starts[node]:
                path.append(at)
                at = tree.parents[at]
            paths.append(path[::-1])
    return paths


def _read_paths(
    model: Any,
    tree: TokenTree,
    paths: Sequence[Sequence[int]],
    wanted: set[int],
    state: State | None,
    tokens: int | None,
    found: dict[int, Tensor],
) -> None:
    """Read paths of nodes in passes of at most `tokens` tokens, and add the logits behind the wanted nodes to `found`."""
    rows = [_row(tree, path, wanted) for path in paths]
    most = tokens or sum(len(row.tokens) for row in rows)
    for part in even_parts(rows, most):
        logits, _ = read_rows(model, [rows[number] for number in part], state)
        for number, own in zip(part, logits, strict=True):
            found.update(zip((paths[number][position] for position in rows[number].wanted), own, strict=True))


def _row(tree: TokenTree, path: Sequence[int], wanted: set[int]) -> Row:
    return Row([tree.tokens[node] for node in path], [place for place, node in enumerate(path) if node in wanted])


class RowTree:
    """A token tree that grows, computed in rows; beginnings that are computed are kept as states of the model.

    Not for training: states hold no gradients.

    Args:
        model: a causal language model that `choose_engine` has seen, with or without a PEFT adapter.
        prefix: tokens that all sequences of the tree begin with; they are computed at once.
    """

    def __init__(self, model: Any, prefix: Sequence[int] = ()) -> None:
        self.model = model
        self.tree = TokenTree()
        self._states: dict[int, State] = {}
        self._tokens = tokens_that_fit(model)
        if prefix:
            self.tree.insert(prefix)
            self.compute()

    def copy(self) -> Self:
        """The same tree, to grow apart from this one; what is computed is shared."""
        twin = type(self)(self.model)
        twin.tree = self.tree.copy()
        twin._states = self._states.copy()
        return twin

    @torch.inference_mode()
    def compute(self) -> None:
        """Keep states behind the ends of all sequences, as many as a pass has tokens."""
        parents = set(self.tree.parents)
        room = self._tokens - sum(state.length for state in self._states.values())
        for end in range(len(self.tree)):
            length = self.tree.depths[end] + 1
            if end in parents or end in self._states or not engine_of(self.model).may_share(length):
                continue
            room -= length
            # The first is the shared prefix, on which everything builds.
            if room < 0 and self._states:
                return
            start = self._start(end)
            (path,) = _paths(self.tree, [end], {end: start})
            _, state = read_rows(self.model, [_row(self.tree, path, {end})], self._states.get(start), keep=True)
            if state is not None:
                self._states[end] = state

    @torch.inference_mode()
    def logits_at(self, nodes: Sequence[int]) -> Tensor:
        """The logits (len(nodes), V) in float32 behind some nodes.

        Raises:
            OutctlError: a sequence is longer than the model has positions for.
        """
        starts = {node: self._start(node) for node in nodes}
        found: dict[int, Tensor] = {}
        for start in dict.fromkeys(starts.values()):
            own = [node for node in nodes if starts[node] == start]
            short = [node for node in own if engine_of(self.model).may_share(self.tree.depths[node] + 1)]
            long = [node for node in own if node not in set(short)]
            if short:
                self._read(_paths(self.tree, short, starts), set(short), self._states.get(start), found)
            if long:
                paths = _paths(self.tree, long, dict.fromkeys(long, -1))
                _read_paths(self.model, self.tree, paths, set(long), None, self._tokens, found)
        return _stacked(self.model, [found[node] for node in nodes])

    def _start(self, node: int) -> int:
        """The nearest node above with a state; -1 without one."""
        if not engine_of(self.model).may_share(self.tree.depths[node] + 1):
            return -1
        above = self.tree.parents[node]
        while above >= 0 and above not in self._states:
            above = self.tree.parents[above]
        return above

    def _read(
        self, paths: Sequence[list[int]], wanted: set[int], state: State | None, found: dict[int, Tensor]
    ) -> None:
        """Read paths, and what several begin with only once where that saves enough."""
        by_beginning: dict[int, list[list[int]]] = {}
        for path in paths:
            by_beginning.setdefault(path[0], []).append(path)
        apart: list[list[int]] = []
        for alike in by_beginning.values():
            shared = _shared(alike)
            if shared * (len(alike) - 1) < WORTH_A_PASS["cuda" if self.model.device.type == "cuda" else "cpu"]:
                apart += alike
                continue
            beginning = alike[0][:shared]
            row = _row(self.tree, beginning, wanted)
            # Some models give no logits at all unless one is asked for.
            asked = row if row.wanted else row._replace(wanted=[shared - 1])
            (logits,), after = read_rows(self.model, [asked], state, keep=True)
            found.update(zip((beginning[position] for position in row.wanted), logits, strict=False))
            self._read([path[shared:] for path in alike], wanted, after, found)
        if apart:
            _read_paths(self.model, self.tree, apart, wanted, state, self._tokens, found)


def _shared(paths: Sequence[list[int]]) -> int:
    """How many nodes all paths begin with."""
    first, last = min(paths), max(paths)
    return next((place for place, node in enumerate(first) if last[place] != node), len(first))
