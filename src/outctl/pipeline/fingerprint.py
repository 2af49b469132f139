"""Fingerprints of code: what a job runs, down to the definitions it can reach, without comments and docstrings.

Beginning with what a stage runs, every name that a definition uses is followed to its definition, within the module and
through imports from this package. The syntax trees of all that is reached are hashed, and with them what the modules do when
they are imported, those too that are imported for something else. So an edit changes the fingerprint of exactly the stages
that can run the edited definition, and a comment, a docstring or white space of none. How a stage is planned is no part of
it.
"""

import ast
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = "outctl"
ROOT = Path(__file__).parent.parent


def _is_docstring(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string: a docstring of a module, a class, a function or an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _written(value: Any) -> str:
    """A syntax tree as text, without docstrings and empty fields: which ones there are differs from Python to Python."""
    if isinstance(value, ast.AST):
        fields = []
        for name, field in ast.iter_fields(value):
            if isinstance(field, list):
                written = ", ".join(_written(part) for part in field if not _is_docstring(part))
                if written:
                    fields.append(f"{name}=[{written}]")
            elif field is not None:
                fields.append(f"{name}={_written(field)}")
        return f"{type(value).__name__}({', '.join(fields)})"
    return repr(value)


class _Module:
    """A module's top level: what defines a name, what imports one, and what is done on import.

    What its parts say and use is found out once, however many stages reach them.
    """

    def __init__(self, path: Path) -> None:
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        self.effects: list[ast.stmt] = []
        self._texts: dict[str, bytes] = {}
        self._uses: dict[str, list[str | tuple[str, str | None]]] = {}
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for statement in tree.body:
            if _is_docstring(statement):
                continue
            match statement:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    self.definitions.setdefault(statement.name, []).append(statement)
                case ast.Import() | ast.ImportFrom():
                    self.imports.update(_imported(statement))
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if name != "_":
                    self.definitions.setdefault(name, []).append(statement)
                case _:
                    self.effects.append(statement)

    def statements(self, part: str) -> list[ast.stmt]:
        """What makes up a definition, or without a name what is done on import."""
        return self.definitions.get(part, []) if part else self.effects

    def text(self, part: str) -> bytes:
        """What a definition says, or without a name what is done on import."""
        if part not in self._texts:
            lines = (f"{part}:{_written(statement)}\n" for statement in self.statements(part))
            self._texts[part] = "".join(lines).encode()
        return self._texts[part]

    def uses(self, part: str) -> list[str | tuple[str, str | None]]:
        """What a definition, or without a name what is done on import, uses: names of this module, and what it imports itself."""
        if part not in self._uses:
            found: dict[str | tuple[str, str | None], None] = {}
            for node in (node for statement in self.statements(part) for node in ast.walk(statement)):
                # What a function or a class body gives a value to is a name of its own.
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    found[node.id] = None
                elif isinstance(node, (ast.Import, ast.ImportFrom)):
                    found |= dict.fromkeys(_imported(node).values())
            self._uses[part] = list(found)
        return self._uses[part]


def _imported(statement: ast.Import | ast.ImportFrom) -> dict[str, tuple[str, str | None]]:
    """Local name -> (module, name in it or None for the module itself), for imports from this package."""
    if isinstance(statement, ast.Import):
        names = {alias.asname or alias.name.partition(".")[0]: (alias.name, None) for alias in statement.names}
        return {local: target for local, target in names.items() if target[0].split(".")[0] == PACKAGE}
    module = statement.module or ""
    if statement.level or module.split(".")[0] != PACKAGE:
        return {}
    return {alias.asname or alias.name: (module, alias.name) for alias in statement.names}


def _path(module: str) -> Path | None:
    """File of a module of this package, None if there is no such module."""
    base = ROOT.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@lru_cache(maxsize=256)
def _module(name: str) -> _Module:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name!r} in this package")
    return _Module(path)


class _Reach:
    """What can be reached, as (module, name); the empty name stands for what a module does on import."""

    def __init__(self) -> None:
        self.reached: set[tuple[str, str]] = set()

    def module(self, name: str) -> None:
        """Reach all of a module."""
        for definition in _module(name).definitions:
            self.name(name, definition)
        self._effects(name)

    def name(self, module: str, name: str) -> None:
        """Reach what a name stands for in a module."""
        if (module, name) in self.reached:
            return
        self._effects(module)
        known = _module(module)
        if name in known.definitions:
            self._follow(module, name)
        elif name in known.imports:
            self.reached.add((module, name))
            self.imported(*known.imports[name])

    def imported(self, module: str, name: str | None) -> None:
        """Reach what an import names, and what the module does on import."""
        if name is None:
            self.module(module)
        elif _path(f"{module}.{name}"):
            self.module(f"{module}.{name}")
        else:
            self.name(module, name)

    def _effects(self, module: str) -> None:
        if (module, "") in self.reached:
            return
        self._follow(module, "")
        # Importing a module runs the packages around it, and what it imports, whatever for.
        if parent := module.rpartition(".")[0]:
            self._effects(parent)
        for imported, name in _module(module).imports.values():
            self._effects(f"{imported}.{name}" if name and _path(f"{imported}.{name}") else imported)

    def _follow(self, module: str, part: str) -> None:
        self.reached.add((module, part))
        for used in _module(module).uses(part):
            if isinstance(used, str):
                self.name(module, used)
            else:
                self.imported(*used)


Plugins = tuple[tuple[str, str], ...]
"""Path and text of each plug-in that a job uses."""


@lru_cache(maxsize=256)
def code_of(module: str, entry: str, *entries: str, plugins: Plugins = ()) -> dict[str, str]:
    """Module -> hash (16 hexadecimal digits) of what a job can reach in it.

    Args:
        module: the module that holds what the job runs.
        entry: its name there.
        entries: modules of the registries' entries that the job uses, which nothing imports by name.
        plugins: the plug-ins that the job uses: their whole texts count, and what they can reach in this package.
    """
    reach = _Reach()
    reach.name(module, entry)
    for used in entries:
        reach.module(used)
    for path, source in plugins:
        for node in ast.walk(ast.parse(source, path)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for target in _imported(node).values():
                    reach.imported(*target)
    digests: dict[str, hashlib._Hash] = {}
    for reached, part in sorted(reach.reached):
        if text := _module(reached).text(part):
            digests.setdefault(reached, hashlib.sha256()).update(text)
    added = {path: hashlib.sha256(source.encode()).hexdigest()[:16] for path, source in plugins}
    return {reached: digest.hexdigest()[:16] for reached, digest in digests.items()} | added


@lru_cache(maxsize=256)
def fingerprint(module: str, entry: str, *entries: str, plugins: Plugins = ()) -> str:
    """Hash (64 hexadecimal digits) of all code that a job can reach, as for `code_of`."""
    found = code_of(module, entry, *entries, plugins=plugins)
    lines = [f"{reached} {digest}\n" for reached, digest in sorted(found.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
