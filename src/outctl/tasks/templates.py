"""Prompt templates: YAML files that say how a case asks, with Jinja for what changes from sample to sample.

A template has a `question`, and may have a `system` turn and fixed `examples` (user and assistant turns) before it.
Cases whose examples are drawn, `icl_random_words`, also need an `answer`: what the assistant says in an example.
"""

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined
from jinja2 import Template as JinjaTemplate
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field

from outctl.config.reading import nearest, read_yaml, validate
from outctl.config.section import Section
from outctl.errors import OutctlError, first_line


class Example(Section):
    """A fixed, answered example."""

    user: str
    """What the user asks."""
    assistant: str
    """What the assistant answers."""


class Template(Section):
    """How a case asks."""

    question: str = Field(min_length=1)
    """The last user turn. Variables: `shares` (each with `.word`, `.percent`, `.fraction`, `.decimal`, `.spelled` and `.part`,
    its part of the odds) where the words are given, `first` and `second` of them for successive words; `topic`, `word` and
    `percent` where a word is to be suppressed; `seed` and `percents` where the model picks the words."""
    free: str | None = None
    """The last user turn without the limit, where a word is to be suppressed."""
    system: str | None = None
    """The system turn."""
    examples: list[Example] = Field(default=[])
    """Answered examples before the question, the same for every sample."""
    answer: str | None = None
    """What the assistant answers in a drawn example. Variables: `word`, and those of the question."""


def template_names() -> list[str]:
    """Names of the templates that come with the package."""
    folder = resources.files(__package__).joinpath("templates")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_template(name: str) -> Template:
    """A template by its name in the package, or by the path of a YAML file.

    Raises:
        OutctlError: there is no such template, or the file is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    elif name in template_names():
        path = Path(str(resources.files(__package__).joinpath("templates", f"{name}.yaml")))
    else:
        raise OutctlError(
            f"there is no prompt template {name!r}; {nearest(name, template_names())}, or give a .yaml file"
        )
    return validate(Template, read_yaml(path), [path])


_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@lru_cache(maxsize=64)
def _compiled(text: str) -> JinjaTemplate:
    return _ENVIRONMENT.from_string(text)


def render(text: str, **variables: Any) -> str:
    """Fill in one text of a template; white space at its ends is dropped.

    Raises:
        OutctlError: the text is no valid Jinja, names an unknown variable, or computes what cannot be.
    """
    try:
        return _compiled(text).render(**variables).strip()
    except Exception as error:  # a template is a program of the user's, which may fail in any way
        raise OutctlError(
            f"prompt template {text!r}: {first_line(error)}; known variables: {', '.join(variables)}"
        ) from None
