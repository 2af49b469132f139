"""What all kinds of model source have in common."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from outctl.config.section import Section
from outctl.storage.checksums import Checksums


class Place(NamedTuple):
    """Where a source has to be reached, for whoever checks that before a run."""

    by: Literal["hub", "index", "disk"]
    """A repository of the hub, packages on the package index, or a path."""
    names: tuple[str, ...]
    """The repository, the packages, or the path."""
    revision: str | None = None
    """Commit of the repository."""


class ModelSource(Section):
    """A kind of model source: its options, how the model is obtained, and what identifies its content."""

    kind: Any
    """Which source this is; each kind narrows it to its own name."""

    @property
    def converted(self) -> bool:
        """Whether the weights are converted to safetensors; those that already are get linked."""
        raise NotImplementedError

    @property
    def place(self) -> Place:
        """Where the source has to be reached."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The source in a few words, for tables."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """What a model card says of the source."""
        return self.label

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """The model's original files: a directory in the layout of the hub, or a GGUF file.

        Args:
            name: the model's name in the registry, for messages.

        Raises:
            OutctlError: the model is missing, gated, out of reach, or not the one that the registry pins.
        """
        raise NotImplementedError

    def contents(self, checksums: Checksums) -> str | None:
        """One hash of the files behind the source; None where the options already pin them."""
        return None

    def parameters(self) -> int | None:
        """Number of parameters, where that can be told without fetching anything."""
        return None
