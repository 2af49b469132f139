"""Blocks of data within the page: JSON, compressed, in letters that HTML gives no meaning to."""

import base64
import gzip
import json
from typing import Any


def block(value: Any) -> str:
    """JSON of a value, gzip, in base64: the page decompresses it when it is first looked at.

    Equal values give equal blocks. Whatever text the value holds, nothing in it can end the element that it stands in.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number with so many significant digits: probabilities take most of the page's room."""
    return None if value is None else float(f"{value:.{digits}g}")
