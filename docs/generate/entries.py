"""One entry of a reference page: a name, what there is to say of it in a word, and what it means."""

from collections.abc import Sequence
from html import escape


def entry(anchor: str, name: str, facts: Sequence[str], text: str) -> str:
    """An entry of a definition list, with an anchor that links can end in.

    Args:
        anchor: the anchor, one of a kind on its page.
        name: what is described.
        facts: type, default and the like, in Markdown.
        text: what it means, in Markdown.
    """
    term = " · ".join([f"`{name}`", *facts])
    body = " ".join(text.split())
    return f'<span id="{escape(anchor)}"></span>{term}\n:   {body}\n'
