"""Models from the Hugging Face hub, at a commit."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from outctl.config.registries import SOURCES
from outctl.config.source import ModelSource, Place
from outctl.models.hub_download import download
from outctl.storage.files import sha256_of

FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "*.tiktoken",
    "merges.txt",
    "vocab.txt",
)
"""What is taken from a repository: safetensors weights, configuration and tokenizer; never pickled weights or code."""
COPIES = ("original/*", "consolidated*")
"""Further copies of the weights, in other layouts."""
COMMIT = r"^[0-9a-f]{40}$"


@SOURCES.register("hub")
class HubSource(ModelSource):
    """A model repository on the Hugging Face hub."""

    kind: Literal["hub"]
    """Which source this is."""
    repo: str = Field(pattern=r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$", max_length=96)
    """Repository, as `owner/name`."""
    revision: str = Field(json_schema_extra={"pattern": COMMIT})
    """Commit of the repository, 40 hexadecimal digits: a branch name would not stay the same model."""

    @field_validator("revision")
    @classmethod
    def _check_revision(cls, revision: str, info: ValidationInfo) -> str:
        if not re.fullmatch(COMMIT, revision):
            repo = info.data.get("repo", "OWNER/NAME")
            raise ValueError(
                f"{revision[:100]!r} is no commit, and a branch or tag can move to another model: give the 40 digits that "
                f"`git ls-remote https://huggingface.co/{repo} {revision[:100]}` prints, or copy them from "
                f"https://huggingface.co/{repo}/commits"
            )
        return revision

    @property
    def converted(self) -> bool:
        """Never: safetensors are linked."""
        return False

    @property
    def place(self) -> Place:
        """The repository."""
        return Place("hub", (self.repo,), self.revision)

    @property
    def label(self) -> str:
        """Repository and the start of the commit."""
        return f"hub {self.repo}@{self.revision[:8]}"

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The snapshot in the hub's cache, downloaded where it is not there yet, or no longer as it was downloaded."""
        snapshot = download("model", name, self.repo, self.revision, FILES, COPIES)
        changed = [file for file in sorted(snapshot.iterdir()) if not _as_downloaded(file)]
        for file in changed:
            file.resolve().unlink()
            file.unlink()
        if changed:
            snapshot = download("model", name, self.repo, self.revision, FILES, COPIES)
        yield snapshot


def _as_downloaded(file: Path) -> bool:
    """Whether a file of the cache is what its name there says: the SHA-256 of a large file, the hash of a small one in git.

    Prepared models share these files, so that one changed there is changed here too.
    """
    blob = file.resolve()
    if blob.parent.name != "blobs" or not blob.is_file():
        return True
    match len(blob.name):
        case 64:
            return sha256_of(blob) == blob.name
        case 40:
            content = blob.read_bytes()
            return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == blob.name
    return True
