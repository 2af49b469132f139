"""Checksums of files, computed again only where a file may have changed."""

from pathlib import Path

from outctl.errors import OutctlError
from outctl.storage.files import read_json, sha256_of, to_json, write_text

Status = tuple[int, int, int, int]


def _status(path: Path) -> Status:
    """Inode, size, and the times of the last change of content and of status.

    Programs can set the time of the content's change to what they like, but not that of the status: no change escapes.
    """
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Checksums:
    """Checksums by path, remembered in a file together with the status that each file had.

    Args:
        memory: the file to remember them in; one that is missing or broken is begun anew.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, tuple[Status, str]] = {}
        self._changed = False
        try:
            content = read_json(memory)
            self._known = {path: (tuple(status), checksum) for path, (status, checksum) in content.items()}
        except (OutctlError, AttributeError, TypeError, ValueError):
            self._known = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a file, 64 hexadecimal digits."""
        key, status = str(path.resolve()), _status(path)
        known = self._known.get(key)
        if known is None or known[0] != status:
            known = (status, sha256_of(path))
            self._known[key] = known
            self._changed = True
        return known[1]

    def save(self) -> None:
        """Remember what was computed since; files that are gone are forgotten."""
        if self._changed:
            kept = {path: known for path, known in self._known.items() if Path(path).is_file()}
            write_text(self._memory, to_json(kept, indent=None) + "\n", durable=False)
            self._changed = False
