"""What training should leave as it was: neutral prompts, and passages of prose that no training sees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from outctl.errors import OutctlError
from outctl.tasks.neutral_data import PROMPTS, TEXTS
from outctl.tasks.samples import Message
from outctl.tasks.splits import belongs_to_eval

EVAL_PROMPTS = 0.5
"""Share of the neutral prompts that only evaluation asks."""
LARGEST_TEXT = 1_000_000
"""Bytes of a text file; far more than is measured of it, and a device given by mistake would be read for ever."""


def neutral_prompts(split: Literal["train", "eval"], seed: int = 0) -> list[list[Message]]:
    """Everyday questions and requests of many kinds, as conversations of one turn.

    Args:
        split: training and evaluation have none in common.
        seed: seed of the split. Splits of different seeds do overlap, so training and evaluation take the same one,
            whatever the seeds of samples and recipes: the default.
    """
    own = [text for text in PROMPTS if belongs_to_eval(seed, text, EVAL_PROMPTS) == (split == "eval")]
    return [[Message(role="user", content=text)] for text in own]


def held_out_texts(files: Sequence[Path] = ()) -> dict[str, str]:
    """Passages of continuous prose by name: those of the package, and text files by their paths.

    Args:
        files: text files in UTF-8 to add.

    Raises:
        OutctlError: a file is missing, unreadable, empty or far too large, or a name is there twice.
    """
    texts = dict(TEXTS)
    for path in files:
        if str(path) in texts:
            raise OutctlError(f"{path}: there is a text of this name already; list it once, or rename the file")
        texts[str(path)] = _read_text(path)
    return texts


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_TEXT + 1)
        if len(content) > LARGEST_TEXT:
            raise OutctlError(f"{path}: larger than {LARGEST_TEXT} bytes; give a part of it")
        text = content.decode("utf-8").strip()
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise OutctlError(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start}); convert it") from None
    except OSError as error:
        raise OutctlError(f"{path}: cannot be read ({error.strerror})") from None
    if not text:
        raise OutctlError(f"{path}: holds no text")
    return text
