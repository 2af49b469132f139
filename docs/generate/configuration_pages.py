"""Keys of the configuration files, from the JSON schemas of the classes that check them."""

from collections.abc import Iterator
from typing import Any

from entries import entry

from outctl.config.schemas import SCHEMAS

Schema = dict[str, Any]


def configuration_page() -> str:
    """The keys of an experiment."""
    return _page(
        "experiment",
        "Configuration",
        "The keys of an experiment, as `config/config.yaml` and the file behind `--configfile` hold them. Unknown keys and "
        "values of another type are refused with one line. Paths of files to read are relative to the file that names them, "
        "those on the command line to the working directory. `src/outctl/workflow/schemas/experiment.schema.json` is the same "
        "for editors.",
    )


def registry_page() -> str:
    """The keys of the model registry."""
    return _page(
        "models",
        "Model registry",
        "The keys of `config/models.yaml`, or of the file that the experiment's key `registry` names. A path is relative to "
        "that file.",
    )


def template_page() -> str:
    """The keys of a prompt template."""
    return _page(
        "template",
        "Templates",
        "The keys of a prompt template, a YAML file. Those of the package lie in `src/outctl/tasks/templates/`.",
    )


def _page(name: str, title: str, introduction: str) -> str:
    schema = SCHEMAS[name].model_json_schema()
    sections = {schema["title"]: schema} | schema.get("$defs", {})
    order = list(dict.fromkeys([schema["title"], *_mentioned(schema, sections)]))
    parts = [f"# {title}\n\n{introduction}\n"]
    parts += [_section(section, sections) for section in order]
    return "\n".join(parts)


def _mentioned(schema: Schema, sections: dict[str, Schema]) -> Iterator[str]:
    """Sections below one, in the order in which a reader meets them."""
    for field in schema["properties"].values():
        for name in _references(field):
            yield name
            yield from _mentioned(sections[name], sections)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield _target(value)
        for key, inner in value.items():
            # A discriminator repeats the references of the alternatives that it tells apart.
            if key != "discriminator":
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _target(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _section(name: str, sections: dict[str, Schema]) -> str:
    schema = sections[name]
    lines = [f"## {name}\n", f"{schema['description']}\n"]
    required = schema.get("required", [])
    for key, field in schema["properties"].items():
        facts = [_type(field), _presence(field, key in required)]
        # A field without a description of its own has that of the section it refers to.
        text = field.get("description") or sections[_target(field)]["description"]
        lines.append(entry(f"{name}.{key}", key, [fact for fact in facts if fact], text))
    return "\n".join(lines)


def _presence(field: Schema, required: bool) -> str:
    if required:
        return "" if "const" in field else "required"
    default = field.get("default")
    if default is None or isinstance(default, dict):
        return "may be left out"
    return f"default `{_yaml(default)}`"


def _yaml(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return f"[{_target(schema)}](#{_target(schema).lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            return " or ".join(_type(own) for own in schema[alternatives] if own.get("type") != "null")
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object":
            inner = schema["additionalProperties"]
            return f"names, each with {_type(inner) if isinstance(inner, dict) else 'any value'}"
        case "string":
            return f"text like `{schema['pattern']}`" if "pattern" in schema else "text"
        case "integer" | "number" as kind:
            return " ".join(word for word in ("integer" if kind == "integer" else "number", _range(schema)) if word)
        case "boolean":
            return "`true`, `false`"
    return "any value"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"from {low} to {high}"
    limits = {"of at least": low, "of at most": high, "above": above, "below": below}
    return " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)
