"""Reading configuration files, and turning their mistakes into one line that names file, key and the nearest valid name."""

import difflib
import reprlib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from outctl.config.paths import Key
from outctl.config.registry import ByKind, unwrapped
from outctl.config.strict_yaml import load_strictly
from outctl.errors import OutctlError

Schema = typing.TypeVar("Schema", bound=BaseModel)


LARGEST = 1_000_000
"""Bytes of a configuration file; a device or a file given by mistake would be read for ever."""
LONGEST_NAME = 200
"""Characters of a name or a value in a message."""
COMMAND_LINE = "--config"
"""What messages say instead of a file where a value comes from the command line."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OutctlError: the file is missing, unreadable, far too large or no YAML.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OutctlError(f"{path}: larger than {LARGEST} bytes, which no configuration is")
        return load_strictly(content.decode("utf-8"))
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OutctlError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise OutctlError(f"{path}:{where} not valid YAML: {problem}") from None
    except (ValueError, OverflowError) as error:  # an escape beyond the last character of Unicode
        raise OutctlError(f"{path}: not valid YAML: {error}") from None


def read_config(path: Path) -> dict[str, Any]:
    """The keys of a configuration file.

    Raises:
        OutctlError: the file cannot be read, or does not consist of keys.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise OutctlError(f"{path}: a configuration consists of keys and their values, and this file does not")
    return content


def nearest(name: object, valid: Sequence[str]) -> str:
    """A hint for an unknown name: the valid one that is spelt most alike, or all of them."""
    if close := difflib.get_close_matches(str(name), valid, n=1):
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(valid)}" if valid else "none is defined"


def _members(annotation: Any, metadata: Sequence[Any] = ()) -> list[Any]:
    """The types that an annotation is made of, without `Annotated` and unions; of a section by kind, all its classes."""
    members, marks = unwrapped(annotation)
    classes = [kind for mark in (*metadata, *marks) if isinstance(mark, ByKind) for kind in mark.classes()]
    return classes or members


_MISSING = object()


def _step(data: Any, element: str | int) -> Any:
    """What stands under a key or at a position; `_MISSING` if nothing does."""
    if isinstance(data, Mapping):
        return data.get(element, _MISSING)
    if isinstance(data, list) and isinstance(element, int) and element < len(data):
        return data[element]
    return _MISSING


def _valid_keys(annotation: Any, key: Key, data: Any) -> list[str]:
    """Names allowed beside the last element of `key`, found by walking the annotations along it."""
    candidates = _members(annotation)
    for element in key[:-1]:
        following: list[Any] = []
        data = _step(data, element)
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                if element in candidate.model_fields:
                    field = candidate.model_fields[str(element)]
                    following += _members(field.annotation, field.metadata)
            elif typing.get_origin(candidate) in (dict, list):
                following += _members(typing.get_args(candidate)[-1])
        candidates = following
    models = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
    if isinstance(data, dict) and "kind" in data:
        # Of several kinds of section, the one that the section says it is.
        sorts = [item for item in models if "kind" in item.model_fields]
        tagged = [item for item in sorts if data["kind"] in typing.get_args(item.model_fields["kind"].annotation)]
        models = tagged or models
    return sorted({name for item in models for name in item.model_fields})


def _key_in_data(location: Sequence[str | int], missing: bool, data: Any) -> Key:
    """An error's location without the tags that name alternatives of a union and do not stand in the file."""
    key: list[str | int] = []
    tag = None
    for position, element in enumerate(location):
        below = _step(data, element)
        last = position == len(location) - 1
        if tag is not None and element == tag and not (last and below is not _MISSING):
            tag = None
        elif below is not _MISSING or (last and missing):
            key.append(element)
            data = below
            tag = data.get("kind") if isinstance(data, Mapping) else None
    return tuple(key)


def _value(data: Any, key: Key) -> Any:
    for element in key:
        data = _step(data, element)
    return data


def contains(data: Any, key: Key) -> bool:
    """Whether a configuration has a key."""
    return _value(data, key) is not _MISSING


def file_of(key: Key, data: Any, files: Sequence[Path], given: Mapping[str, Any] = NOTHING) -> str:
    """The file that says what stands at this key: the last one that has it, since later files override earlier ones.

    Args:
        key: a key of the configuration; for one that is missing, the file of the section that lacks it is meant.
        data: the merged configuration.
        files: the files it was merged from, in order. What none of them has came from the command line.
        given: what the command line gives.
    """
    while key and not contains(data, key):
        key = key[:-1]
    value = _value(data, key)
    if not isinstance(value, Mapping) and contains(given, key):
        return COMMAND_LINE
    for path in reversed(files):
        found = _value(read_yaml(path), key) if path.is_file() else _MISSING
        if found is not _MISSING:
            # Sections are merged, values are replaced: another value than the last file's came from the command line.
            same = (found == value or value != value) and repr(found) == repr(value)  # 1 == True, and NaN is not NaN
            return str(path) if isinstance(value, Mapping) or same else COMMAND_LINE
    return COMMAND_LINE


def dotted(key: Key) -> str:
    """A key as a reader writes it: `cases.given_words.eval_samples`; names far too long lose their ends."""
    return ".".join(text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..." for text in map(str, key))


def _shown(value: Any) -> str:
    """A value as a message shows it, without the middle of what is long."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = LONGEST_NAME
    return shortened.repr(value)


def _describe(error: ValidationError, schema: type[BaseModel], data: Any, files: Sequence[Path]) -> str:
    found = [
        (item, _key_in_data(item["loc"], item["type"] == "missing", data)) for item in error.errors(include_url=False)
    ]
    # A key that is spelt wrongly is missing too; the wrong spelling says more.
    first, key = min(found, key=lambda mistake: mistake[0]["type"] != "extra_forbidden")
    # A list that may be a word instead is no such word either; what is wrong inside says more.
    first, key = max(
        (mistake for mistake in found if mistake[1][: len(key)] == key), key=lambda mistake: len(mistake[1])
    )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key; {nearest(key[-1], _valid_keys(schema, key, data))}"
    elif first["type"] == "missing":
        message = "this key is required"
    elif first["type"] in ("union_tag_invalid", "literal_error"):
        context = first["ctx"]
        expected = str(context.get("expected_tags") or context.get("expected")).replace(" or ", ", ")
        valid = [part.strip(" '") for part in expected.split(",")]
        wrong = context.get("tag", first["input"])
        key = (*key, "kind") if first["type"] == "union_tag_invalid" else key
        message = f"{_shown(wrong)} is not allowed; {nearest(wrong, valid)}"
    elif first["type"] == "union_tag_not_found":
        message = "this section needs the key 'kind'"
    elif not isinstance(first["input"], (dict, list)) and first["type"] != "value_error":
        message = f"{message}, not {_shown(first['input'])}"
    where = f"{file_of(key, data, files)}: {dotted(key)}" if key else ", ".join(map(str, files)) or COMMAND_LINE
    more = error.error_count() - 1
    return f"{where}: {message}" + (f" (and {more} more)" if more else "")


def validate(schema: type[Schema], data: Any, files: Sequence[Path]) -> Schema:
    """Check data that was read from `files` against a schema.

    Raises:
        OutctlError: one line with file, key, what is wrong, and the nearest valid name where there is one.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise OutctlError(_describe(error, schema, data, files)) from None
