"""YAML without surprises: no key twice, no aliases that grow without bound, no values that only look like one.

What it reads is what `yaml.safe_load` reads, or it is an error with its place in the text.
"""

from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import AliasEvent
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

DEEPEST = 50
"""Levels of nesting once aliases are followed; the configuration has six."""
MOST_NODES = 50_000
"""Keys and values once aliases are followed: a few lines of aliases of aliases could stand for billions."""
LONGEST_NUMBER = 100
"""Characters of a number; from some length on, Python refuses to read or to print them."""


def _mistake(problem: str, place: Any) -> MarkedYAMLError:
    """An error at a node or an event."""
    return MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


class _StrictLoader(yaml.SafeLoader):
    """Measures and checks each node as soon as it is composed, when all that it holds has been."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.path: list[Any] = []
        self.sizes: dict[Node, int] = {}
        self.heights: dict[Node, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.path.append(index)
        if len(self.path) > DEEPEST:
            raise _mistake(f"nested more than {DEEPEST} levels deep", event)
        node = super().compose_node(parent, index)
        if node is not None and node not in self.sizes:
            if isinstance(event, AliasEvent):
                raise _mistake(f"the alias at {self._place()} refers to what it is part of", event)
            self._measure(node)
        self.path.pop()
        return node

    def _measure(self, node: Node) -> None:
        held: list[Node] = []
        if isinstance(node, MappingNode):
            self._check_keys(node)
            held = [part for pair in node.value for part in pair]
        elif isinstance(node, CollectionNode):
            held = node.value
        self.sizes[node] = 1 + sum(self.sizes[part] for part in held)
        self.heights[node] = 1 + max((self.heights[part] for part in held), default=0)
        if self.sizes[node] > MOST_NODES:
            raise _mistake(f"{self._place()} holds more than {MOST_NODES} keys and values", node)
        if self.heights[node] > DEEPEST:
            raise _mistake(f"{self._place()} is nested more than {DEEPEST} levels deep", node)

    def _check_keys(self, node: MappingNode) -> None:
        found = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in found:
                    raise _mistake(f"{self._place(key)} is given twice", key)
                found.add((key.tag, key.value))

    def _place(self, *more: Any) -> str:
        """Where the loader is, as other messages write it: `cases.given_words.eval_samples`."""
        elements = [element.value if isinstance(element, ScalarNode) else element for element in (*self.path, *more)]
        return ".".join(str(element) for element in elements if isinstance(element, (str, int))) or "the document"

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            raise _mistake(f"a number of {len(node.value)} characters", node)
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # fails for half a surrogate pair, which no file could hold
        except (ValueError, LookupError, AttributeError):
            # A tag, or the look of it, promises what the text does not keep: the 99th of a month, `!!bool perhaps`.
            raise _mistake(f"the text is no valid {kind}", node) from None
        return value


def load_strictly(text: str) -> Any:
    """The one document of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML, says something twice, or would be too large or too deep.
    """
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_scalar(text: str) -> Any:
    """What a text stands for as a value in a YAML file: a number, a truth value, nothing, or itself.

    Text in quotes is what stands between them. What would be a mistake in a file is the text itself.
    """
    if text[:1] not in ("'", '"'):
        loader = _StrictLoader("")
        try:
            tag = loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            return loader.construct_object(ScalarNode(tag, text))
        except yaml.YAMLError:
            return text
        finally:
            loader.dispose()
    try:
        value = load_strictly(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, str) else text
