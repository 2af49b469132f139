"""Provenance: which specification, code, versions and machine an output came from, and what it must look like."""

import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from outctl.errors import OutctlError
from outctl.machine.memory import cores, driver_gpus, memory_mb, processor
from outctl.pipeline.specs import Spec
from outctl.storage.checksums import Checksums
from outctl.storage.files import sha256_of, to_json, write_json
from outctl.storage.outputs import CHANGED, read_provenance

PACKAGES = ("accelerate", "bitsandbytes", "outctl", "peft", "snakemake", "tokenizers", "torch", "transformers")


@cache
def installed_version(package: str) -> str | None:
    """Version of an installed package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def package_versions(packages: Iterable[str], versions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of packages.

    Args:
        packages: their names.
        versions: by package, in place of what is installed here.
    """
    found = {name: (versions.get(name) if versions else installed_version(name)) for name in packages}
    # Builds of one release for one processor or another (2.13.0+cpu) are the same release.
    return {name: version.partition("+")[0] if version else "not installed" for name, version in found.items()}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def code_version() -> dict[str, Any]:
    """Commit of the checkout that the package runs from, and whether it has uncommitted changes; None outside one."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        # An environment inside a user's own repository is no checkout of this package.
        return {"commit": None, "dirty": None}
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


@cache
def hardware() -> dict[str, Any]:
    """What jobs have here, which is the same for each: nothing that another program on the machine changes."""
    memory, _ = memory_mb()
    return {"processor": processor(), "cores": cores(), "memory_mb": memory, "gpus": driver_gpus()}


def environment() -> dict[str, Any]:
    """What ran a job: commit, package versions, Python, hardware, and what a cluster's scheduler gave it."""
    return {
        "code": code_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "hardware": hardware(),
        "scheduler": {
            "host": socket.gethostname(),
            "job_id": os.environ.get("SLURM_JOB_ID"),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        },
    }


SELF = "checksum"
"""Key of a provenance file under which the checksum of all its other keys stands."""


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != SELF}
    return hashlib.sha256(to_json(rest, indent=None).encode()).hexdigest()


def write_provenance(path: Path, spec: Spec, outputs: list[Path], **details: Any) -> None:
    """Write the provenance of outputs, which lie beside or below it.

    Args:
        path: the file to write.
        spec: the specification of the job that wrote them.
        outputs: the outputs; their checksums are recorded.
        details: what else belongs there: device, types, durations.
    """
    content = {
        "spec_hash": spec.hash,
        "spec": spec.model_dump(mode="json"),
        "outputs": {
            file.relative_to(path.parent).as_posix(): {"sha256": sha256_of(file), "bytes": file.stat().st_size}
            for file in sorted(outputs)
        },
        "environment": environment(),
        **details,
    }
    write_json(path, {**content, SELF: _checksum(content)})


@dataclass(frozen=True)
class Found:
    """What a job has written, as it is found.

    Attributes:
        spec_hash: hash of the specification that it was made from; None where the provenance does not say.
        spec: that specification; None where it is of another form than today's.
        changed: files that are missing or not as they were written, the provenance among them.
        name: a name, 8 hexadecimal digits, for just these findings.
    """

    spec_hash: str | None
    spec: Spec | None
    changed: tuple[Path, ...]
    name: str

    def repair(self, spec_hash: str) -> str:
        """The repair (see `Spec`) that the job needs whose specification has this hash.

        Where the outputs are whole and from this specification it is the repair that made them, most often none. Where they
        are not, it is the name of the findings: the same each time until they are made again.
        """
        if self.spec is not None and self.spec_hash == spec_hash and not self.changed:
            return self.spec.repair
        return self.name


def look_at(path: Path, checksums: Checksums) -> Found | None:
    """Look at what a job has written.

    Args:
        path: the job's provenance file.
        checksums: of files that may have changed since they were written.

    Returns:
        None where there is no provenance: the workflow sees by itself that outputs are missing.
    """
    if not path.is_file():
        return None
    seen = [path.read_bytes()]
    changed = []
    spec_hash, spec, outputs = None, None, {}
    try:
        content = read_provenance(path)
    except OutctlError:
        changed.append(path)
    else:
        spec_hash, outputs = content["spec_hash"], content["outputs"]
        with suppress(ValidationError):
            spec = Spec.model_validate(content.get("spec"))
        if content.get(SELF) != _checksum(content):
            changed.append(path)
    written = path.stat().st_ctime_ns
    for name, expected in outputs.items():
        file = path.parent / name
        if not file.is_file():
            actual = "missing"
        elif file.stat().st_size == expected["bytes"] and file.stat().st_ctime_ns <= written:
            # Nothing has happened to the file since its provenance was written.
            actual = expected["sha256"]
        else:
            actual = checksums.of(file)
        if actual != expected["sha256"]:
            changed.append(file)
        seen.append(actual.encode())
    return Found(spec_hash, spec, tuple(changed), hashlib.sha256(b"\n".join(seen)).hexdigest()[:8])


def check_upstream(spec: Spec, job: str, path: Path, whole: bool = True) -> None:
    """Make sure that what a job reads was written by the job that its specification names.

    Args:
        spec: the specification of the reading job.
        job: the writing job, as `spec.upstream` names it; nothing is checked if it names none.
        path: the provenance file of what is read.
        whole: whether to check the files' contents too, which takes long for large ones.

    Raises:
        OutctlError: it was made from other settings, or is not as it was written.
    """
    if job not in spec.upstream:
        return
    if whole:
        check_outputs(path, spec.upstream[job])
    elif read_provenance(path)["spec_hash"] != spec.upstream[job]:
        raise OutctlError(f"{path.parent}: {OUTDATED}")


OUTDATED = "made from other settings or code than the current ones; run the workflow again"


def check_outputs(path: Path, spec_hash: str | None = None) -> dict[str, Any]:
    """Make sure that outputs are whole, and that they belong to the current specification.

    Args:
        path: their provenance file.
        spec_hash: hash of the specification that they must come from; None accepts any.

    Raises:
        OutctlError: an output is missing, differs from what was written, or comes from another specification.
    """
    content = read_provenance(path)
    if spec_hash is not None and content["spec_hash"] != spec_hash:
        raise OutctlError(f"{path.parent}: {OUTDATED}")
    for name, expected in content["outputs"].items():
        file = path.parent / name
        if not file.is_file() or sha256_of(file) != expected["sha256"]:
            raise OutctlError(f"{file}: {CHANGED}")
    return content


def is_made(path: Path, spec: Spec) -> bool:
    """Whether what a specification asks for lies there whole.

    Args:
        path: the provenance file of the outputs.
        spec: the specification.
    """
    try:
        return Spec.model_validate(check_outputs(path, spec.hash).get("spec")) == spec
    except (OutctlError, ValidationError):
        return False
