"""A tree of token sequences, so that what sequences share is computed once, in one forward pass.

All prompts of a case begin alike, and all surface forms of a sample's words follow the same prompt. Put into one tree,

    system - question - "ark"  - "atom" - <end of prompt> - "ark" - "ansas"
                     |                                   |- " ark"
                     |                                   `- "atom"
                     `- "mint" - "moss" - <end of prompt> - ...

each node is one token, and it attends to its ancestors alone. The tree is laid out as one row; node i has its depth as
its position. A row has no padding, and the answer for a node depends on its path only.
"""

from collections.abc import Sequence
from typing import Self


class TokenTree:
    """Nodes in an order in which parents come before their children; equal prefixes are one path.

    Attributes:
        tokens: token id of each node.
        parents: index of each node's parent, -1 for a first token.
        depths: number of ancestors of each node, which is its position in every sequence through it.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def insert(self, tokens: Sequence[int], after: int = -1) -> list[int]:
        """Add a sequence below node `after` (-1: from the start) and return its nodes, new and already present."""
        path = []
        node = after
        for token in tokens:
            child = self._children.get((node, token))
            if child is None:
                child = len(self.tokens)
                self._children[node, token] = child
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(0 if node < 0 else self.depths[node] + 1)
            path.append(child)
            node = child
        return path

    def copy(self) -> Self:
        """The same tree, to grow apart from this one."""
        twin = type(self)()
        twin.tokens, twin.parents, twin.depths = self.tokens.copy(), self.parents.copy(), self.depths.copy()
        twin._children = self._children.copy()
        return twin

    def shared_prefix_length(self) -> int:
        """How many of the first nodes are a chain that all other nodes descend from."""
        chain = 0
        while chain < len(self) and self.parents[chain] == chain - 1:
            chain += 1
        return min((parent + 1 for parent in self.parents[chain:]), default=chain)
