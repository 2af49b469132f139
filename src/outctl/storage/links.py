"""Files that are kept once and used in two places."""

import os
import shutil
from pathlib import Path


def link_file(original: Path, target: Path) -> None:
    """Let a file be found under a second path, without a second copy of it.

    A hard link where the file system has them and lets this user make them; across file systems, a symbolic link. The file
    itself is linked where the original is a link, as in the hub's cache.
    """
    file = original.resolve()
    try:
        os.link(file, target)
    except OSError:
        try:
            target.symlink_to(file)
        except OSError:
            shutil.copyfile(file, target)


def is_linked(path: Path) -> bool:
    """Whether a file is found under another path too, so that its permissions are not only this path's."""
    return path.is_symlink() or path.lstat().st_nlink > 1
