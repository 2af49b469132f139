"""Writing files and directories whole or not at all."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from outctl.errors import OutctlError, of_the_machine
from outctl.storage.links import is_linked

Row = TypeVar("Row", bound=BaseModel)


def synchronise(path: Path) -> None:
    """Flush a file or directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise OutctlError(of_the_machine(error) or f"{path}: cannot be written: {error.strerror or error}") from None


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file under a temporary name, flush it to the disk, and rename it: a reader sees all of it or none.

    Args:
        path: the file.
        content: all of it.
        durable: whether to wait until it is on the disk; what any start of the workflow writes again need not be.

    Raises:
        OutctlError: the disk is full, or the path is not one to write to.
    """
    with _writing(path):
        _replace(path, content, durable)


def _replace(path: Path, content: bytes, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        # mkstemp makes files that only their owner reads; results are for everyone whom the umask lets in.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # An open file's errors do not say which file it is.
            error.filename = str(path)
        raise
    if durable:
        synchronise(path.parent)


def write_text(path: Path, content: str, durable: bool = True) -> None:
    """Write a text file whole or not at all, in UTF-8; `durable` as in `write_bytes`."""
    write_bytes(path, content.encode("utf-8"), durable)


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON with sorted keys; NaN is refused, since JSON has none."""
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value."""
    write_text(path, to_json(value) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _parse(text: str) -> Any:
    """JSON as the standard has it: Python would take NaN, Infinity and halves of characters too."""
    value = json.loads(text, parse_constant=_refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json(path: Path) -> Any:
    """Read one JSON value.

    Raises:
        OutctlError: the file is missing or broken.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except OSError as error:
        raise OutctlError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise OutctlError(
            f"{path}: not valid JSON ({error}); delete it and run the step that writes it again"
        ) from None


def read_jsonl(path: Path) -> Iterator[Any]:
    """Read one JSON value a line.

    Raises:
        OutctlError: the file is missing or a line is broken.
    """
    try:
        # Not splitlines(): text may hold other characters that count as line breaks there.
        text = path.read_text(encoding="utf-8")
        lines = text.removesuffix("\n").split("\n") if text else []
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OutctlError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        try:
            yield _parse(line)
        except (ValueError, RecursionError) as error:
            # A decoder's own line number would be that within the line.
            problem = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise OutctlError(
                f"{path} line {number}: not valid JSON ({problem}); delete the file and run the step that writes it again"
            ) from None


class StrictRow(BaseModel):
    """A row of a JSONL file, or a part of one: unknown keys are errors, values are not converted, no number is undefined."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TableRow(BaseModel):
    """A row of a table. Undefined numbers are NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def read_rows(path: Path, schema: type[Row], unique: str, shared: Sequence[str], remedy: str) -> list[Row]:
    """Read one row of a schema a line.

    Args:
        path: the file.
        schema: what every line must be.
        unique: the key whose value no two rows have in common.
        shared: the keys whose values all rows have in common.
        remedy: what to do about a file that is none, for messages.

    Raises:
        OutctlError: the file is missing or empty, a line is broken or no such row, or rows do not belong together.
    """

    def refuse(line: int, message: str) -> NoReturn:
        raise OutctlError(f"{path} line {line}: {message}; {remedy}") from None

    rows: list[Row] = []
    lines: dict[Any, int] = {}
    for number, content in enumerate(read_jsonl(path), 1):
        try:
            row = schema.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            # What checks a row as a whole names the key itself.
            key = ".".join(map(str, first["loc"]))
            refuse(number, ": ".join(filter(None, [key, first["msg"].removeprefix("Value error, ")])))
        if (line := lines.setdefault(getattr(row, unique), number)) != number:
            refuse(number, f"{unique}: {getattr(row, unique)!r} stands in line {line} too")
        rows.append(row)
        for key in shared:
            if getattr(row, key) != getattr(rows[0], key):
                refuse(number, f"{key}: {getattr(row, key)!r} differs from {getattr(rows[0], key)!r} of line 1")
    if not rows:
        # DeviationRecord: deviation records
        kind = re.sub(r"\B(?=[A-Z])", " ", schema.__name__).lower()
        raise OutctlError(f"{path}: holds no {kind}s; {remedy}")
    return rows


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that takes the place of `path` when the block ends well, and vanishes when it does not."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        # In the order in which they were written: no file's status changes after that of the provenance, which is last.
        for file in sorted(temporary.rglob("*"), key=lambda file: file.stat().st_mtime_ns):
            if file.is_file() and not is_linked(file):
                file.chmod(0o666 & ~mask)
                synchronise(file)
        if path.exists():
            outdated = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
            path.replace(outdated / path.name)
            temporary.replace(path)
            shutil.rmtree(outdated)
        else:
            temporary.replace(path)
        synchronise(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    write_bytes(target, source.read_bytes())


def copy_directory(source: Path, target: Path) -> None:
    """Copy a directory of files whole or not at all, in the order in which they were written."""
    with whole_directory(target) as temporary:
        for file in sorted(source.iterdir(), key=lambda file: file.stat().st_mtime_ns):
            shutil.copyfile(file, temporary / file.name)


def sha256_of(path: Path) -> str:
    """Checksum of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
