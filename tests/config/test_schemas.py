import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from outctl.config.schemas import SCHEMAS, schema_text, write_schemas

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "outctl" / "workflow" / "schemas"
EXAMPLES = [
    *((path, "models" if path.name == "models.yaml" else "experiment") for path in (ROOT / "config").glob("*.yaml")),
    *((path, "template") for path in (ROOT / "src/outctl/tasks/templates").glob("*.yaml")),
]


def sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield schema["title"], schema
    yield from schema.get("$defs", {}).items()


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_files_are_those_that_the_classes_generate(name):
    assert (FOLDER / f"{name}.schema.json").read_text() == schema_text(name), "run `make schema`"


def test_there_is_no_other_schema_file():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}


def test_schemas_are_written_into_a_directory(tmp_path):
    write_schemas(tmp_path / "new")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {
        f"{name}.schema.json": schema_text(name) for name in SCHEMAS
    }


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_section_and_field_has_a_description(name):
    known = dict(sections(json.loads(schema_text(name))))
    for title, section in known.items():
        assert section.get("description", "").strip(), title
        for key, field in section["properties"].items():
            # A field whose description is that of the section it refers to does not repeat it.
            described = known[field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert (field.get("description") or described["description"]).strip(), f"{title}.{key}"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_forbid_unknown_keys(name):
    schema = json.loads(schema_text(name))
    Draft202012Validator.check_schema(schema)
    assert {title for title, section in sections(schema) if section.get("additionalProperties") is not False} == set()


@pytest.mark.parametrize(("path", "name"), EXAMPLES, ids=lambda value: getattr(value, "name", value))
def test_shipped_files_fit_their_schema(path, name):
    validator = Draft202012Validator(json.loads(schema_text(name)))
    content = yaml.safe_load(path.read_text())
    assert [error.message for error in validator.iter_errors(content)] == []
    assert [error.validator for error in validator.iter_errors({**content, "misspelt": 1})] == ["additionalProperties"]
