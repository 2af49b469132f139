"""Outputs as they were written: the provenance beside them lists each with its size and checksum."""

from pathlib import Path
from typing import Any

from outctl.errors import OutctlError
from outctl.storage.files import read_json, sha256_of

CHANGED = "missing or not as it was written; start the workflow again, which makes it anew"


def read_provenance(path: Path) -> dict[str, Any]:
    """Read a provenance file.

    Raises:
        OutctlError: the file is missing or broken.
    """
    content = read_json(path)
    try:
        files = content["outputs"].values()
        valid = isinstance(content["spec_hash"], str) and all({"sha256", "bytes"} <= set(file) for file in files)
    except (TypeError, KeyError, AttributeError):
        valid = False
    if not valid:
        raise OutctlError(f"{path}: not a provenance file; delete it and run the step that writes it again")
    return dict(content)


def check_sizes(path: Path) -> dict[str, Any]:
    """Make sure that outputs are there and as long as they were, which shows what was cut off and takes no time.

    The contents of a file are checked where it was written to since: models share files with the hub's cache and the user's
    own directories.

    Args:
        path: their provenance file.

    Raises:
        OutctlError: an output is missing or was changed.
    """
    content = read_provenance(path)
    written = path.stat().st_mtime_ns
    for name, expected in content["outputs"].items():
        file = path.parent / name
        same = file.is_file() and file.stat().st_size == expected["bytes"]
        if not same or (file.stat().st_mtime_ns > written and sha256_of(file) != expected["sha256"]):
            raise OutctlError(f"{file}: {CHANGED}")
    return content
