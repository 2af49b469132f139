"""Models on this machine: a directory in the layout of the hub, or a GGUF file."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from outctl.config.names import FilePath
from outctl.config.registries import SOURCES
from outctl.config.source import ModelSource, Place
from outctl.errors import OutctlError
from outctl.models.checkpoint import count_parameters
from outctl.models.gguf import GGUF, header_of, join_shards, shards_of
from outctl.storage.checksums import Checksums


@SOURCES.register("local")
class LocalSource(ModelSource):
    """A directory on this machine in the layout of the hub (config, safetensors, tokenizer), or a GGUF file."""

    kind: Literal["local"]
    """Which source this is."""
    path: FilePath
    """The directory, or the GGUF file (of several shards the first), absolute or relative to the registry."""

    @property
    def converted(self) -> bool:
        """Whether it is a GGUF file."""
        return self.path.endswith(GGUF)

    @property
    def place(self) -> Place:
        """The path."""
        return Place("disk", (self.path,))

    @property
    def label(self) -> str:
        """The path."""
        return f"{'file' if self.converted else 'directory'} {self.path}"

    @property
    def description(self) -> str:
        """That it is on a machine; its path means nothing to others."""
        return f"the local file `{Path(self.path).name}`" if self.converted else "a local directory"

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The directory, or the GGUF file, its shards joined in a temporary directory."""
        path = Path(self.path)
        if self.converted:
            shards = shards_of(path)
            if missing := [shard for shard in shards if not shard.is_file()]:
                raise OutctlError(f"model {name}: there is no file {missing[0]}; correct source.path in the registry")
            if len(shards) == 1:
                yield path
                return
            with tempfile.TemporaryDirectory() as folder:
                yield join_shards(shards, Path(folder) / path.name)
            return
        if not path.is_dir():
            raise OutctlError(
                f"model {name}: {path} is no directory and no GGUF file; correct source.path in the registry"
            )
        yield path

    def contents(self, checksums: Checksums) -> str | None:
        """Names and checksums of the files, as one hash; None where there are none."""
        path = Path(self.path)
        files = shards_of(path) if self.converted else sorted(path.iterdir()) if path.is_dir() else []
        listing = [(file.name, checksums.of(file)) for file in files if file.is_file()]
        return hashlib.sha256(repr(listing).encode()).hexdigest() if listing else None

    def parameters(self) -> int | None:
        """Number of parameters by the headers of the weights; None where they cannot be read."""
        path = Path(self.path)
        try:
            if self.converted:
                return sum(header_of(shard).parameters for shard in shards_of(path))
            return count_parameters(path)
        except (OutctlError, OSError):
            return None
