"""What a word may have beside its probability: the mass of other token sequences that could spell it.

A word is measured in the split that the tokenizer gives each of its forms. A reader sees text, and the same text can be
written in other tokens: *at* and *om* spell *atom*. Each such sequence leaves the ones that are read at some node, by a token
that goes on spelling a form. The mass of these tokens is known from the logits that are read anyway, and bounds all of them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from math import exp

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from outctl.inference.token_tree import TokenTree
from outctl.inference.word_forms import token_bytes

Path = tuple[int, ...]


@lru_cache(maxsize=8)
def tokens_by_spelling(tokenizer: PreTrainedTokenizerBase, size: int) -> dict[bytes, list[int]]:
    """The token ids that write the same bytes, by these; those that write nothing are left out."""
    found: dict[bytes, list[int]] = {}
    for token, spelling in enumerate(token_bytes(tokenizer, size)):
        if spelling:
            found.setdefault(spelling, []).append(token)
    return found


def spelling_tokens(written: bytes, texts: Sequence[bytes], known: dict[bytes, list[int]]) -> set[int]:
    """The tokens with which a sequence that wrote so much may go on, or end, spelling one of the texts.

    Args:
        written: what is written.
        texts: the texts, in order.
        known: as `tokens_by_spelling`.
    """
    rests = []
    for text in texts[bisect_left(texts, written) :]:
        if not text.startswith(written):
            break
        rests.append(text[len(written) :])
    return {token for rest in rests for size in range(1, len(rest) + 1) for token in known.get(rest[:size], ())}


def unread_masses(
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[Path, Sequence[Path]]],
    tree: TokenTree,
    nodes: Sequence[int],
    logits: Tensor,
) -> list[float]:
    """For each question, the most that all sequences together can have that spell one of its forms and are not read.

    Args:
        tokenizer: the model's tokenizer.
        asked: prompt and forms of B questions.
        tree: the tree that they are laid out in.
        nodes: P nodes of it: the ends of the prompts, and all nodes of forms.
        logits: (P, V) logits behind the nodes.
    """
    size = logits.shape[-1]
    spellings, known = token_bytes(tokenizer, size), tokens_by_spelling(tokenizer, size)
    rows = {node: row for row, node in enumerate(nodes)}
    numbers: dict[tuple[int, int], int] = {}
    leaving: list[list[list[int]]] = []
    for prompt, forms in asked:
        end = tree.insert(prompt)[-1]
        texts = sorted({b"".join(spellings[token] for token in form) for form in forms})
        read = {form[:length] for form in forms for length in range(len(form) + 1)}
        leaving.append([])
        for path in sorted(read):
            places = [rows[node] for node in (end, *tree.insert(path, after=end))]
            before = [numbers.setdefault(step, len(numbers)) for step in zip(places, path, strict=False)]
            written = b"".join(spellings[token] for token in path)
            for token in sorted(spelling_tokens(written, texts, known)):
                if (*path, token) not in read:
                    leaving[-1].append([*before, numbers.setdefault((places[-1], token), len(numbers))])
    steps = torch.tensor(list(numbers), dtype=torch.long, device=logits.device).reshape(-1, 2)
    log_p = (logits[steps[:, 0], steps[:, 1]] - logits.logsumexp(-1)[steps[:, 0]]).double().tolist()
    return [min(1.0, sum(exp(sum(log_p[number] for number in path)) for path in own)) for own in leaving]
