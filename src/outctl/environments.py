"""The pinned environments that rules can be given, as far as plans need to know them."""

import re
from pathlib import Path

from outctl.config_files import read_yaml

PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def pinned_versions(directory: Path) -> dict[str, str]:
    """Package -> version that the environments of a directory pin.

    Args:
        directory: holds conda environments (`*.yaml`), which agree about the packages that they share.
    """
    versions: dict[str, str] = {}
    for file in sorted(directory.glob("*.yaml")):
        pip = next(entry["pip"] for entry in read_yaml(file)["dependencies"] if isinstance(entry, dict))
        pins = [match.groups() for line in pip if (match := PIN.match(line))]
        versions.update({name.lower().replace("_", "-"): version for name, version in pins})
    return versions
