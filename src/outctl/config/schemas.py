"""Write the JSON schemas of the configuration files, for editors and readers: `python -m outctl.config.schemas DIRECTORY`."""

import sys
from pathlib import Path

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.config.section import Section
from outctl.storage.files import to_json, write_text
from outctl.tasks.templates import Template

SCHEMAS: dict[str, type[Section]] = {"experiment": Experiment, "models": Registry, "template": Template}
"""Name of each schema and the class that it describes."""


def schema_text(name: str) -> str:
    """One schema, as its file holds it."""
    return to_json(SCHEMAS[name].model_json_schema()) + "\n"


def write_schemas(directory: Path) -> None:
    """Write all schemas into a directory."""
    for name in SCHEMAS:
        write_text(directory / f"{name}.schema.json", schema_text(name))


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
