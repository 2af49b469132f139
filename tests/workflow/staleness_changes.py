"""Changes of a finished experiment: of its configuration, its files, the code, the packages."""

import ast
import os
import shutil
import stat
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from finished_copy import Copy

Change = Callable[[Copy], None]

FAKE_CONDA = """#!/bin/sh
case "$1 $2" in
    "info --json") echo '{"conda_prefix": "/opt/conda", "platform": "linux-64", "conda_version": "25.1.0"}';;
    "--version "*) echo "conda 25.1.0";;
    "config "*) echo '{"get": {"channel_priority": "strict"}}';;
esac
"""
"""Answers what Snakemake asks before it plans; environments are made only by runs."""


def nothing(copy: Copy) -> None:
    """Change nothing."""


def both(*changes: Change) -> Change:
    """Make several changes, one after the other."""

    def change(copy: Copy) -> None:
        for one in changes:
            one(copy)

    return change


def _set(place: Any, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        place = place.setdefault(part, {})
    place[last] = value


def key(path: str, value: Any) -> Change:
    """Give a key of the configuration another value."""
    return lambda copy: _set(copy.config, path, value)


def without(path: str) -> Change:
    """Take a key out of the configuration."""

    def change(copy: Copy) -> None:
        *sections, last = path.split(".")
        place = copy.config
        for section in sections:
            place = place[section]
        del place[last]

    return change


def reordered(path: str) -> Change:
    """Turn the order of a section's keys around."""

    def change(copy: Copy) -> None:
        *sections, last = path.split(".")
        place = copy.config
        for section in sections:
            place = place[section]
        place[last] = dict(reversed(place[last].items()))

    return change


def entry(path: str, value: Any) -> Change:
    """Give a key of the registry another value; the path begins with the model's name."""
    return lambda copy: _set(copy.registry["models"], path, value)


def extended(copy: Copy) -> None:
    """Let the registry extend the built-in one."""
    copy.registry["extends"] = "built-in"


def text(file: str, old: str, new: str, keep_time: bool = False) -> Change:
    """Replace text in a file of the working directory that has it once."""

    def change(copy: Copy) -> None:
        path = copy.folder / file
        before, content = path.stat(), path.read_text()
        assert content.count(old) == 1, f"{old!r} stands {content.count(old)} times in {file}"
        path.write_text(content.replace(old, new))
        if keep_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def in_checkout(file: str, old: str, new: str) -> Change:
    """Replace text in a file of a checkout of its own."""

    def change(copy: Copy) -> None:
        copy.own_checkout()
        text(f"checkout/{file}", old, new)(copy)

    return change


def moved_checkout(copy: Copy) -> None:
    """Run the workflow of a checkout that lies elsewhere."""
    copy.own_checkout()


def flipped(file: str) -> Change:
    """Change one byte in the middle of a file, and give it back its times."""

    def change(copy: Copy) -> None:
        path = copy.folder / file
        before, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def lengthened(file: str) -> Change:
    """Add a byte to a file, and give it back its times."""

    def change(copy: Copy) -> None:
        path = copy.folder / file
        before = path.stat()
        with path.open("ab") as stream:
            stream.write(b"\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def deleted(*files: str) -> Change:
    """Delete files and directories."""

    def change(copy: Copy) -> None:
        for name in files:
            path = copy.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def touched(*names: str) -> Change:
    """Give all files below some directories the time of now."""

    def change(copy: Copy) -> None:
        for name in names:
            for path in sorted((copy.folder / name).rglob("*"), reverse=True):
                path.touch()

    return change


def definition(module: str, name: str | None) -> Change:
    """Edit a definition of a module (`function`, `Class.method`), or, without a name, what the module does on import."""

    def change(copy: Copy) -> None:
        base = copy.own_checkout().joinpath("src", *module.split("."))
        path = next(file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())
        source = path.read_text()
        if name is None:
            path.write_text(f"{source}\n\nprint(end='')\n")
            return
        body: list[ast.stmt] = ast.parse(source).body
        for part in name.split("."):
            found = next(node for node in body if getattr(node, "name", None) == part)
            body = getattr(found, "body", [])
        # Behind the docstring.
        first = body[ast.get_docstring(found) is not None]
        lines = source.splitlines(keepends=True)
        lines.insert(first.lineno - 1, f"{' ' * first.col_offset}print(end='')\n")
        path.write_text("".join(lines))

    return change


def wording(copy: Copy) -> None:
    """Edit comments, docstrings and white space of every module at once."""
    for path in sorted((copy.own_checkout() / "src").rglob("*.py")):
        source = path.read_text()
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                lines[node.lineno - 1] = lines[node.lineno - 1].replace('"""', '"""Said otherwise: ', 1)
        path.write_text(f"# A comment.\n\n{''.join(lines)}\n\n# Another.\n")


def version(package: str, number: str) -> Change:
    """Have another version of a package installed, as far as its metadata say."""

    def change(copy: Copy) -> None:
        folder = copy.folder / "packages" / f"{package.replace('-', '_')}-{number}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {number}\n")
        copy.packages = [str(folder.parent)]

    return change


def module(name: str) -> Change:
    """Have a module that can be found, and does nothing."""

    def change(copy: Copy) -> None:
        folder = copy.folder / "packages"
        folder.mkdir()
        (folder / f"{name}.py").write_text("")
        copy.packages = [str(folder)]

    return change


def other_build(package: str) -> Change:
    """Have another build of the same version of a package installed."""
    release = metadata.version(package).partition("+")[0]
    return version(package, f"{release}+other")


def environments(package: str | None = None, number: str = "", comment: str = "") -> Change:
    """Let Snakemake make the environments, which pin what is installed here, but for one package."""

    def change(copy: Copy) -> None:
        checkout = copy.own_checkout()
        installed = {(found.name or "").lower().replace("_", "-"): found.version for found in metadata.distributions()}
        for file in (checkout / "src/outctl/workflow/envs").glob("*.yaml"):
            lines = [comment] if comment else []
            for line in file.read_text().splitlines():
                name, sign, _ = line.partition("==")
                known = name.removeprefix("      - ").lower().replace("_", "-")
                pin = number if known == package else installed.get(known, "").partition("+")[0]
                lines.append(f"{name}=={pin}" if sign else line)
            file.write_text("\n".join(lines) + "\n")
        conda = copy.folder / "bin" / "conda"
        conda.parent.mkdir()
        conda.write_text(FAKE_CONDA)
        conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
        copy.path = str(conda.parent)
        copy.arguments += ["--software-deployment-method", "conda"]

    return change


def only(target: str, scope: str) -> Change:
    """Ask for one target alone, which the jobs of a pattern make."""

    def change(copy: Copy) -> None:
        copy.arguments.append(target)
        copy.scope = scope

    return change


def copied(source: str, target: str) -> Change:
    """Copy a file or directory of the working directory."""

    def change(copy: Copy) -> None:
        path = copy.folder / source
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy.folder / target)

    return change


def written(file: str, content: str) -> Change:
    """Write a file of the working directory."""

    def change(copy: Copy) -> None:
        Path(copy.folder / file).write_text(content)

    return change
