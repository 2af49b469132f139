"""Which base model an adapter was made for, as it says itself, and whether that is the one at hand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from outctl.errors import OutctlError
from outctl.storage.files import read_json

ANOTHER_WAY = "`--force` on the command line, `force: true` in the configuration"
REPACKED = re.compile(r"(-unsloth)?(-bnb-4bit|-4bit|-gguf)?$")
"""How names of repositories end that hold the weights of another one in another format."""


@dataclass(frozen=True)
class Base:
    """A model that an adapter is to be put on.

    Attributes:
        name: what messages call it.
        names: everything that it is called: in the registry, on the hub, by its directories.
        revision: commit of the hub's repository; None where it comes from elsewhere.
        weights_hash: hash of its weights.
    """

    name: str
    names: tuple[str, ...]
    revision: str | None
    weights_hash: str


def base_of(provenance: Mapping[str, Any], directory: Path) -> Base:
    """A prepared model, from the provenance in its directory."""
    source = provenance.get("source") or {}
    named = (provenance.get("model"), directory.name, source.get("repo"), source.get("package"), source.get("path"))
    names = tuple(str(name) for name in named if name)
    return Base(names[0], names, source.get("revision"), str(provenance["weights_hash"]))


def check_base(adapter: Path, base: Base, force: bool = False) -> None:
    """Make sure that an adapter names this model as its base, or none.

    What its provenance says of the weights that it was trained on counts more than a name.

    Args:
        adapter: directory of the adapter.
        base: the model.
        force: accept another one.

    Raises:
        OutctlError: it names another model, and `force` is not set.
    """
    if force:
        return
    trained_on = _provenance(adapter).get("base_weights_hash")
    if trained_on == base.weights_hash:
        return
    if trained_on is not None:
        raise OutctlError(
            f"{adapter}: trained on the weights of another model than {base.name} ({str(trained_on)[:12]} there, "
            f"{base.weights_hash[:12]} here); train it again on this one, or use it all the same: {ANOTHER_WAY}"
        )
    config = read_json(adapter / "adapter_config.json")
    named, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not named:
        return
    if not _same(str(named), base.names):
        raise OutctlError(
            f"{adapter}: made for the model {named!r}, not for {base.name}; choose that model, or use it all the same: "
            f"{ANOTHER_WAY}"
        )
    pinned = [text for text in (revision, base.revision) if text and re.fullmatch(r"[0-9a-f]{40}", str(text))]
    if len(set(pinned)) > 1:
        raise OutctlError(
            f"{adapter}: made for revision {pinned[0][:12]} of {named}, and {base.name} is {pinned[1][:12]}; choose that "
            f"revision, or use it all the same: {ANOTHER_WAY}"
        )


def _provenance(adapter: Path) -> dict[str, Any]:
    """The provenance of an adapter that this program wrote; nothing of others, which may have a file of that name too."""
    file = adapter / "provenance.json"
    content = read_json(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def _same(named: str, names: tuple[str, ...]) -> bool:
    """Whether a repository or path that an adapter names is one of a model's names; owners and letters' case do not count."""
    return not {_last(named)}.isdisjoint(map(_last, names))


def _last(name: str) -> str:
    """The part of a repository's name or of a path that tells the model."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    # A file of the hub's cache lies in models--OWNER--NAME/snapshots/COMMIT, a quantised copy in .nf4/NAME/KEY.
    cached = next((part for part in parts if part.startswith("models--")), None)
    if cached is not None:
        own = cached.split("--")[-1]
    elif ".nf4" in parts[:-2]:
        own = parts[parts.index(".nf4") + 1]
    else:
        own = parts[-1] if parts else ""
    plain = re.sub(r"[._\s]+", "-", own.lower())
    return REPACKED.sub("", plain)
