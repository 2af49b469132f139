"""Paths in a configuration are relative to the file that names them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from outctl.config.names import Located
from outctl.config.registry import unwrapped
from outctl.errors import OutctlError

Key = tuple[str | int, ...]


def file_paths(section: BaseModel) -> Iterator[tuple[Key, str]]:
    """Key and text of every path in a section that is relative to a file, at any depth."""
    for name, field in type(section).model_fields.items():
        yield from _paths(getattr(section, name), field.annotation, field.metadata, (name,))


def _paths(value: Any, annotation: Any, metadata: list[Any], key: Key) -> Iterator[tuple[Key, str]]:
    kinds, marks = unwrapped(annotation)
    if isinstance(value, str):
        if any(isinstance(mark, Located) and value in mark for mark in (*metadata, *marks)):
            yield key, value
    elif isinstance(value, BaseModel):
        for below, path in file_paths(value):
            yield (*key, *below), path
    elif isinstance(value, (list, dict)):
        inner = next((get_args(kind)[-1] for kind in kinds if get_args(kind)), Any)
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(part, inner, [], (*key, name))


def as_seen_from_here(path: str, file: Path, key: str) -> str:
    """A path relative to the working directory.

    Args:
        path: the path as a file names it.
        file: the file.
        key: the path's key there, for messages.

    Raises:
        OutctlError: nothing is there, and something is at this path in the working directory.
    """
    if Path(path).is_absolute():
        return path
    found = os.path.relpath(file.parent / path)
    if not Path(found).exists() and Path(path).exists():
        raise OutctlError(
            f"{file}: {key}: there is no {found!r}, and paths are relative to the file that names them; write "
            f"{os.path.relpath(path, file.parent)!r}"
        )
    return found


def with_paths(data: Any, changes: Mapping[Key, str]) -> Any:
    """A copy of a configuration in which other paths stand under some keys."""
    return _with_paths(data, changes, ()) if changes else data


def _with_paths(data: Any, changes: Mapping[Key, str], key: Key) -> Any:
    if isinstance(data, Mapping):
        return {name: _with_paths(value, changes, (*key, name)) for name, value in data.items()}
    if isinstance(data, list):
        return [_with_paths(value, changes, (*key, position)) for position, value in enumerate(data)]
    return changes.get(key, data)
