"""Token trees against the set of prefixes that they stand for."""

from hypothesis import given
from hypothesis import strategies as st

from outctl.inference.token_tree import TokenTree

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


def prefixes(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    return {tuple(sequence[:end]) for sequence in sequences for end in range(1, len(sequence) + 1)}


def spelled(tree: TokenTree, node: int) -> tuple[int, ...]:
    """The sequence that ends in a node."""
    tokens: tuple[int, ...] = ()
    while node >= 0:
        tokens = (tree.tokens[node], *tokens)
        node = tree.parents[node]
    return tokens


def test_shared_beginning_is_one_path() -> None:
    tree = TokenTree()
    assert tree.insert([5, 6, 7]) == [0, 1, 2]
    assert tree.insert([5, 6, 8, 7]) == [0, 1, 3, 4]
    assert tree.insert([5, 6]) == [0, 1]
    assert tree.insert([6]) == [5]
    assert tree.tokens == [5, 6, 7, 8, 7, 6]
    assert tree.parents == [-1, 0, 1, 1, 3, -1]
    assert tree.depths == [0, 1, 2, 2, 3, 0]
    assert len(tree) == 6


def test_insertion_below_a_node_is_insertion_of_the_whole_sequence() -> None:
    tree = TokenTree()
    (*_, end) = tree.insert([5, 6])
    below = tree.insert([7, 8], after=end)
    assert tree.insert([5, 6, 7, 8])[2:] == below
    assert [tree.depths[node] for node in below] == [2, 3]


def test_empty_tree_and_empty_sequence() -> None:
    tree = TokenTree()
    assert tree.insert([]) == []
    assert tree.shared_prefix_length() == 0
    assert len(tree) == 0


@given(SEQUENCES)
def test_one_node_for_each_distinct_prefix(sequences: list[list[int]]) -> None:
    tree = TokenTree()
    paths = [tree.insert(sequence) for sequence in sequences]
    found = [spelled(tree, node) for node in range(len(tree))]
    assert len(found) == len(set(found))
    assert set(found) == prefixes(sequences)
    for sequence, path in zip(sequences, paths, strict=True):
        assert [spelled(tree, node) for node in path] == [tuple(sequence[: i + 1]) for i in range(len(sequence))]
        assert [tree.depths[node] for node in path] == list(range(len(sequence)))
    assert all(parent < node for node, parent in enumerate(tree.parents))


@given(SEQUENCES, SEQUENCES)
def test_a_copy_grows_apart(sequences: list[list[int]], further: list[list[int]]) -> None:
    tree = TokenTree()
    for sequence in sequences:
        tree.insert(sequence)
    before = [spelled(tree, node) for node in range(len(tree))]
    twin = tree.copy()
    for sequence in further:
        twin.insert(sequence)
    assert [spelled(tree, node) for node in range(len(tree))] == before
    assert [spelled(twin, node) for node in range(len(tree))] == before
    assert {spelled(twin, node) for node in range(len(twin))} == prefixes(sequences + further)


@given(SEQUENCES)
def test_the_shared_prefix_is_what_all_nodes_descend_from(sequences: list[list[int]]) -> None:
    tree = TokenTree()
    for sequence in sequences:
        tree.insert(sequence)
    texts = [spelled(tree, node) for node in range(len(tree))]
    expected = 0
    while expected < len(tree) and all(
        texts[expected] == text[: expected + 1] or text == texts[expected][: len(text)] for text in texts
    ):
        expected += 1
    assert tree.shared_prefix_length() == expected
