"""The engine to expect of a model before it is loaded: what tiny random models of its type were given."""

import json
from pathlib import Path

from outctl.config.models import EngineChoice
from outctl.machine.known_engines import KNOWN_ENGINES


def expected_engine(directory: Path, choice: EngineChoice) -> str:
    """What to expect of a prepared model, as in `KNOWN_ENGINES`; empty for unknown types and what is not prepared.

    Args:
        directory: the prepared model.
        choice: the registry's `engine`.
    """
    try:
        kind = json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError):
        return ""
    known = KNOWN_ENGINES.get(kind, "")
    return "rows: asked for in the registry" if choice == "rows" and not known.startswith("refused") else known
