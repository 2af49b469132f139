"""Plug-ins: Python files of a user's that register kinds of case, losses, metrics and vocabularies.

A job gets the texts of the plug-ins that it uses in its specification, so it runs them as they were when the workflow was
started, also on a host that does not have the files.
"""

import ast
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from outctl.config.registry import Registry, registering
from outctl.errors import KeyedError, OutctlError

LARGEST = 1_000_000
"""Bytes of a plug-in; a device or a file given by mistake would be read for ever."""
PACKAGE = "outctl"


class _Loaded:
    """The plug-ins that have been run in this process: the text of each, and what it registered."""

    texts: ClassVar[dict[str, str]] = {}
    entries: ClassVar[dict[str, list[tuple[Registry[Any], str]]]] = {}


def load_plugins(paths: Any) -> None:
    """Run the plug-ins of an experiment, and forget those of any other.

    Args:
        paths: what the configuration has under `plugins`; its type is checked with the rest of the configuration.

    Raises:
        KeyedError: a file cannot be read, or is listed twice.
        OutctlError: a mistake in a plug-in, with file and line.
    """
    listed = paths if isinstance(paths, list) and all(isinstance(path, str) for path in paths) else []
    texts: dict[str, str] = {}
    for position, path in enumerate(listed):
        try:
            texts[path] = _read(path, path in texts)
        except ValueError as error:
            raise KeyedError(("plugins", position), str(error)) from None
    for path in set(_Loaded.texts) - set(texts):
        _forget(path)
    run_plugins(texts)


def _read(path: str, again: bool) -> str:
    if again:
        raise ValueError(f"{path!r} is listed twice")
    if not path.endswith(".py"):
        raise ValueError(f"{path!r} is no Python file; its name must end in .py")
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"{path!r} is larger than {LARGEST} bytes, which no plug-in is")
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} is no UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}") from None


def run_plugins(texts: Mapping[str, str]) -> None:
    """Run plug-ins by their texts; those that have been run with the same text are left alone.

    Raises:
        OutctlError: a mistake in a plug-in, with file and line.
    """
    for path, text in texts.items():
        if _Loaded.texts.get(path) != text:
            _forget(path)
            _run(path, text)


def plugin_text(path: str) -> str:
    """The text of a plug-in that has been run."""
    return _Loaded.texts[path]


def _forget(path: str) -> None:
    for registry, name in _Loaded.entries.pop(path, []):
        registry.remove(name)
    _Loaded.texts.pop(path, None)


def _run(path: str, text: str) -> None:
    try:
        tree = ast.parse(text, path)
        _check_imports(path, tree)
        code = compile(text, path, "exec")
    except SyntaxError as error:
        line = f" line {error.lineno}" if error.lineno else ""
        raise OutctlError(f"{path}{line}: not valid Python: {error.msg}") from None
    except ValueError as error:  # a null byte, before Python 3.11.4
        raise OutctlError(f"{path}: not valid Python: {error}") from None
    name = "outctl_plugin_" + re.sub(r"\W", "_", path)
    module = ModuleType(name)
    module.__file__ = path
    # Classes look up their annotations by the name of their module, and tracebacks their lines by the file's.
    sys.modules[name] = module
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    with registering(path) as made:
        try:
            exec(code, module.__dict__)
        except (Exception, SystemExit) as error:
            for registry, entry in made:
                registry.remove(entry)
            raise OutctlError(f"{path} line {_line_of(error, path)}: {_described(error)}") from None
    if not made:
        raise OutctlError(f"{path}: registers nothing; see docs/how-to/own-case.md for what a plug-in looks like")
    _Loaded.texts[path] = text
    _Loaded.entries[path] = list(made)


def _line_of(error: BaseException, path: str) -> int | None:
    """The last line of a plug-in that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def _imports(tree: ast.AST) -> list[tuple[str, int]]:
    """First part of every module that is imported anywhere, with the line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." if node.level else (node.module or "").partition(".")[0], node.lineno))
    return found


def _check_imports(path: str, tree: ast.AST) -> None:
    """Refuse imports of files beside the plug-in, whose edits would make nothing stale and which jobs would not find."""
    for name, line in _imports(tree):
        # Where the command line is run as a module, the working directory is searched as well.
        folders = (Path(path).parent, Path())
        beside = [folder / file for folder in folders for file in (f"{name}.py", f"{name}/__init__.py")]
        if name == "." or (name != PACKAGE and any(file.is_file() for file in beside)):
            raise OutctlError(
                f"{path} line {line}: a plug-in is one file and cannot import another beside it; put both into one"
            )


def packages_used(texts: Mapping[str, str]) -> list[str]:
    """Installed packages that plug-ins import, without this one and the standard library."""
    names = {name for path, text in texts.items() for name, _ in _imports(ast.parse(text, path))}
    names -= {PACKAGE, *sys.stdlib_module_names}
    return sorted({package.lower() for name in names for package in _packages().get(name, [])})


@lru_cache(maxsize=1)
def _packages() -> Mapping[str, list[str]]:
    return packages_distributions()
