"""Commands, arguments and options, from the command line's own program."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from entries import entry
from typer.main import get_command

from outctl.cli.app import EXCHANGE, INTERACTIVE, STEPS
from outctl.cli.main import app

PANELS = {
    INTERACTIVE: "A look at models, answers and what the next run would do.",
    STEPS: "Each is a rule of the workflow, and can be run by hand. Without options they read the configuration, and read and "
    "write where the workflow does.",
    EXCHANGE: "What other evaluation programs read.",
}
"""The groups of commands, and what they are."""
KINDS = {Path: "path", str: "text", int: "integer", float: "number"}
"""What a value of each type is called."""


def command_line_page() -> str:
    """All commands of `outctl`."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    # Modules add their commands when they are imported, in whatever order that is.
    ordered = sorted(commands.items(), key=lambda item: str(item[1].callback.__module__))
    parts = [
        "# Command line\n\n`outctl --help` and `outctl COMMAND --help` show the same. A mistake in what is given ends in "
        "one line and exit code 1, an unknown option in exit code 2.\n"
    ]
    for panel, introduction in PANELS.items():
        parts.append(f"## {panel}\n\n{introduction}\n")
        parts += [_command(name, command) for name, command in ordered if command.rich_help_panel == panel]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    kinds = _kinds(command.callback)
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and param.name in kinds]
    words = [param.name.upper() if param.required else f"[{param.name.upper()}]" for param in arguments]
    words += [f"{param.opts[0]} {kinds[param.name].upper()}" for param in options if param.required]
    usage = " ".join(["outctl", name, *words, "[OPTIONS]"])
    lines = [f"### outctl {name}\n", f"{_markdown(command.help)}\n", f"```text\n{usage}\n```\n"]
    lines += [entry(f"{name}.{param.name}", param.name.upper(), [], param.help) for param in arguments]
    lines += [
        entry(f"{name}.{param.name}", param.opts[0], list(_facts(param, kinds[param.name])), param.help)
        for param in options
    ]
    return "\n".join(lines)


def _kinds(function: Callable[..., Any]) -> dict[str, str]:
    """What the value of each parameter of a command is called; empty for flags."""

    def kind(hint: Any) -> str:
        # A list's items, and what an optional value is where it is given.
        inner = [own for own in get_args(hint) if own is not type(None)]
        return kind(inner[0]) if inner else KINDS.get(hint, "")

    return {name: kind(hint) for name, hint in get_type_hints(function).items() if name != "return"}


def _facts(param: Any, kind: str) -> Iterator[str]:
    if kind:
        yield kind
    if param.multiple:
        yield "several"
    if param.required:
        yield "required"
    elif param.default not in (None, False):
        yield f"default `{param.default}`"


def _markdown(text: str) -> str:
    """Help in the markup of the terminal as Markdown."""
    return re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text)
