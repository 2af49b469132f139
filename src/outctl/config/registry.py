"""Registries: what a name in the configuration stands for.

An entry of the package is a module of the registry's folder and bears its name; it is imported when it is looked up. Others
come from plug-ins (`outctl.config.plugins`). Sections mark the values that name entries, so that the entries a job uses can
be read off its settings.
"""

import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

Entry = TypeVar("Entry")
NAME_PATTERN = r"[a-z][a-z0-9_]{0,99}"
"""What entries may be called; names become modules, columns and parts of messages."""


class _Registration:
    """The plug-in that is being run, and what it has registered so far."""

    path: ClassVar[str | None] = None
    made: ClassVar[list[tuple["Registry[Any]", str]]] = []


@contextmanager
def registering(path: str) -> Iterator[list[tuple["Registry[Any]", str]]]:
    """Count what is registered in this block as the plug-in's of this path."""
    before = _Registration.path, _Registration.made
    _Registration.path, _Registration.made = path, []
    try:
        yield _Registration.made
    finally:
        _Registration.path, _Registration.made = before


class Registry(Mapping[str, Entry]):
    """Entries by name.

    Args:
        what: what an entry is called in messages.
        folder: the package whose modules are the entries that come with this program.
        check: raises ValueError for what cannot be an entry of this name.
    """

    def __init__(self, what: str, folder: str, check: Callable[[str, Any], None]) -> None:
        self.what = what
        self.folder = folder
        self._check = check
        self._built_in: dict[str, Entry] = {}
        self._added: dict[str, tuple[Entry, str]] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Register what this is called with or decorates.

        Raises:
            ValueError: the name is taken, or this cannot be such an entry.
        """

        def add(entry: Entry) -> Entry:
            if not re.fullmatch(NAME_PATTERN, name):
                raise ValueError(f"{name!r} cannot be a name; use lower-case letters, digits and underscores")
            self._check(name, entry)
            if _Registration.path is None:
                self._built_in[name] = entry
                return entry
            if name in self:
                raise ValueError(f"the {self.what} {name!r} is taken; choose another name")
            self._added[name] = entry, _Registration.path
            _Registration.made.append((self, name))
            return entry

        return add

    def remove(self, name: str) -> None:
        """Forget an entry of a plug-in."""
        del self._added[name]

    @cached_property
    def _modules(self) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(import_module(self.folder).__path__))

    def __iter__(self) -> Iterator[str]:
        """The names of all entries, those of the package first."""
        yield from self._modules
        yield from self._added

    def __len__(self) -> int:
        return len(self._modules) + len(self._added)

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._added

    def __getitem__(self, name: str) -> Entry:
        if name in self._added:
            return self._added[name][0]
        if name not in self._built_in:
            if name not in self._modules:
                raise KeyError(name)
            import_module(f"{self.folder}.{name}")
        return self._built_in[name]

    def plugin_of(self, name: str) -> str | None:
        """Path of the plug-in that registered an entry; None for one of the package."""
        return self._added[name][1] if name in self._added else None

    def module_of(self, name: str) -> str:
        """Module of an entry of the package."""
        return f"{self.folder}.{name}"


class Mentions:
    """Marks a text that may be the name of an entry."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def name_in(self, value: Any) -> Any:
        """The name of the entry that a value stands for."""
        return value


class Named(Mentions):
    """Marks a text that must be the name of an entry."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: Any) -> dict[str, Any]:
        return {"enum": list(self.registry), "type": "string"}

    def _validate(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.registry:
            raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, self.registry))})
        return value


class ByKind(Mentions):
    """Marks a section of one of the classes of a registry: the one that its key `kind` names."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: Any) -> dict[str, Any]:
        choices = {name: self.registry[name].__pydantic_core_schema__ for name in self.registry}
        return dict(handler(core_schema.tagged_union_schema(choices, discriminator="kind")))

    def name_in(self, value: Any) -> Any:
        """The kind of a section."""
        return value.kind

    def classes(self) -> list[type[BaseModel]]:
        """The classes of all kinds."""
        return [self.registry[name] for name in self.registry]

    def _validate(self, value: Any) -> Any:
        if isinstance(value, BaseModel) and getattr(value, "kind", None) in self.registry:
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_attributes_type")
        if "kind" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in self.registry:
            expected = ", ".join(map(repr, self.registry))
            raise PydanticKnownError(
                "union_tag_invalid", {"discriminator": "'kind'", "tag": str(kind), "expected_tags": expected}
            )
        return self.registry[kind].model_validate(value)


def unwrapped(annotation: Any) -> tuple[list[Any], list[Any]]:
    """The types that an annotation is made of, without `Annotated` and unions, and what it is annotated with."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        parts, marks = [typing.get_args(annotation)[0]], list(annotation.__metadata__)
    elif origin in (typing.Union, types.UnionType):
        parts, marks = list(typing.get_args(annotation)), []
    else:
        return [annotation], []
    inner = [unwrapped(part) for part in parts]
    return [kind for kinds, _ in inner for kind in kinds], [*marks, *(mark for _, own in inner for mark in own)]


def entries_of(section: BaseModel) -> Iterator[tuple[Registry[Any], str]]:
    """Registry and name of every entry that a section uses, in whatever depth."""
    for key, field in type(section).model_fields.items():
        yield from _entries(getattr(section, key), field.annotation, field.metadata)


def _entries(value: Any, annotation: Any, metadata: list[Any]) -> Iterator[tuple[Registry[Any], str]]:
    kinds, marks = unwrapped(annotation)
    for mark in (*metadata, *marks):
        if isinstance(mark, Mentions) and value is not None and (name := mark.name_in(value)) in mark.registry:
            yield mark.registry, name
    if isinstance(value, BaseModel):
        yield from entries_of(value)
    elif isinstance(value, (list, tuple, dict)):
        inner = next((typing.get_args(kind)[-1] for kind in kinds if typing.get_args(kind)), Any)
        for part in value.values() if isinstance(value, dict) else value:
            yield from _entries(part, inner, [])
