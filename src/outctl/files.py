"""Writing files and directories whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from outctl.errors import OutctlError

Row = TypeVar("Row", bound=BaseModel)


def synchronise(path: Path) -> None:
    """Flush a file or directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file under a temporary name, flush it to the disk, and rename it: a reader sees all of it or none.

    Args:
        path: the file.
        content: all of it.
        durable: whether to wait until it is on the disk; what any start of the workflow writes again need not be.
    """
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
    except BaseException:
        temporary.unlink(missing_ok=True)
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


def read_json(path: Path) -> Any:
    """Read one JSON value.

    Raises:
        OutctlError: the file is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutctlError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
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
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise OutctlError(
                f"{path} line {number}: not valid JSON ({error.msg}); delete the file and run the step that writes it again"
            ) from None


def read_rows(path: Path, schema: type[Row], remedy: str) -> list[Row]:
    """Read one row of a schema a line.

    Args:
        path: the file.
        schema: what every line must be.
        remedy: what to do about a file that is none, for messages.

    Raises:
        OutctlError: the file is missing, or a line is broken or no such row.
    """
    rows = []
    for number, content in enumerate(read_jsonl(path), 1):
        try:
            rows.append(schema.model_validate(content))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise OutctlError(f"{path} line {number}: {key}: {first['msg']}; {remedy}") from None
    return rows


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that takes the place of `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        # In the order in which they were written: no file's status changes after that of the provenance, which is last.
        for file in sorted(temporary.rglob("*"), key=lambda file: file.stat().st_mtime_ns):
            if file.is_file():
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


def sha256_of(path: Path) -> str:
    """Checksum of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
