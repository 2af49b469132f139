"""The pinned environments that rules can be given, as far as plans need to know them."""

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from outctl.config.reading import read_yaml
from outctl.errors import OutctlError

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


def check_services(services: Iterable[str], versions: Mapping[str, str] | None = None) -> None:
    """Make sure that the services are installed that trainings are to report to; their modules bear their names.

    Args:
        services: names of the services.
        versions: packages that the jobs' environment pins; without it, jobs run in this process's environment.

    Raises:
        OutctlError: one is not.
    """
    for name in services:
        if versions is None and find_spec(name) is None:
            raise OutctlError(
                f"logging.report_to: {name} is not installed; run `pip install {name}` in the environment that jobs run in, "
                "or take it out of the list"
            )
        if versions is not None and name not in versions:
            raise OutctlError(
                f"logging.report_to: {name} is not among the packages of the jobs' environments; add it to envs/*.yaml, or "
                "take it out of the list"
            )
