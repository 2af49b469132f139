"""The environments that jobs run in: how they find this package, and what those that Snakemake makes pin."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from outctl.config.reading import read_yaml
from outctl.errors import OutctlError

PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def job_prefix(source: Path, conda: bool) -> str:
    """The beginning of every job's shell command, which makes its `python` import this package.

    Args:
        source: the folder that holds the package.
        conda: whether jobs run in environments that Snakemake makes, which have all but this package.

    Returns:
        A text for `shell.prefix` of Snakemake, which reads braces as wildcards.
    """
    installed = any(source.glob("outctl-*.dist-info"))
    before = {} if conda else {"PATH": Path(sys.executable).parent}
    if conda or not installed:
        # What is installed beside the package must not come before the packages of another environment.
        before["PYTHONPATH"] = _alone(source) if installed else source
    lines = [f"export {name}={quote(str(path))}${{{name}:+:${name}}}; " for name, path in before.items()]
    return "".join(lines).replace("{", "{{").replace("}", "}}")


def _alone(source: Path) -> Path:
    """A folder that holds nothing but a link to the package."""
    folder = Path.cwd() / ".snakemake" / "outctl"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"outctl.{os.getpid()}"
    link.symlink_to(source / "outctl")
    link.replace(folder / "outctl")
    return folder


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
