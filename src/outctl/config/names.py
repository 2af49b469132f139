"""Names and paths in the configuration: which are taken, and what they may consist of."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

BASELINE = "baseline"
TEMPERATURE = "temperature"
"""The variant that is the baseline at its best temperature."""
DEVIATION = "base_model_deviation"
"""The evaluation of that name, which has samples as cases have."""
REFERENCES = ("uniform", "majority", "ordinal")
"""Names of the reference rows, fixed rules: an even split, all on the largest share, and the best fixed shares by rank."""

REFERENCE_MODEL = "reference"
"""What stands in the model column of a reference row."""

RESULT_FOLDERS = (
    *("adapters", "agreement", "benchmarks", "checkpoints", "deviation", "evaluations", "figures", "logs", "retention"),
    *("samples", "specs", "temperatures", "tensorboard", "tracking"),
)
"""Folders of the pipeline below `results_dir`."""

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What models, cases and adapters may be called; names become parts of paths."""


def _check_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 100 or name.endswith("."):
        raise ValueError(
            f"{name!r} cannot be a name: use up to 100 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit and not ending with a dot"
        )
    return name


def _check_model_name(name: str) -> str:
    if name.lower() == REFERENCE_MODEL:
        raise ValueError(f"{name!r} is taken: {REFERENCE_MODEL} stands for {', '.join(REFERENCES)} in every table")
    if name.lower().endswith(".provenance"):
        raise ValueError(f"{name!r} cannot be a name: its results would be called as the provenance of another's")
    return _check_name(name)


def _check_adapter_name(name: str) -> str:
    if name.lower() in (BASELINE, TEMPERATURE, *REFERENCES):
        raise ValueError(f"{name!r} is taken: {', '.join((BASELINE, TEMPERATURE, *REFERENCES))} are rows of tables")
    return _check_name(name)


def _check_case_name(name: str) -> str:
    if name.lower() == DEVIATION:
        raise ValueError(f"{name!r} is taken: it is an evaluation of its own, with a section of that name")
    return _check_name(name)


Named = TypeVar("Named", bound=Mapping[str, object])


def check_distinct(sections: Named) -> Named:
    """Make sure that no two names differ in case alone."""
    found: dict[str, str] = {}
    for name in sections:
        if found.setdefault(name.lower(), name) != name:
            raise ValueError(
                f"{found[name.lower()]!r} and {name!r} would be one file where upper and lower case are the same"
            )
    return sections


def _check_path(path: str) -> str:
    if not path.isprintable() or path != path.strip():
        raise ValueError(f"{path!r} cannot be a path here: it has control characters, or blanks at its ends")
    if len(path.encode()) > 1000 or any(len(part.encode()) > 200 for part in Path(path).parts):
        raise ValueError("this path is too long: use up to 1000 bytes, and 200 for each folder")
    return path


def _check_output_path(path: str) -> str:
    if set("{}") & set(path):
        raise ValueError(f"{path!r} cannot be written to: the workflow would take braces for wildcards")
    return _check_path(path)


class Located:
    """Marks the path of a file, which is relative to the configuration file that names it.

    Args:
        suffixes: endings of paths, where other texts are names; without any, every text is a path.
    """

    def __init__(self, *suffixes: str) -> None:
        self.suffixes = suffixes

    def __contains__(self, text: str) -> bool:
        """Whether a text is a path."""
        return not self.suffixes or text.endswith(self.suffixes)


Name = Annotated[str, AfterValidator(_check_name)]
CaseName = Annotated[str, AfterValidator(_check_case_name)]
ModelName = Annotated[str, AfterValidator(_check_model_name)]
AdapterName = Annotated[str, AfterValidator(_check_adapter_name)]
_Path = Annotated[str, Field(min_length=1), AfterValidator(_check_path)]
FilePath = Annotated[_Path, Located()]
WordsOrFile = Annotated[_Path, Located(".txt")]
"""The name of a vocabulary, or a file with words."""
TemplateOrFile = Annotated[_Path, Located(".yaml", ".yml")]
"""The name of a template, or a file with one."""
OutputPath = Annotated[str, Field(min_length=1), AfterValidator(_check_output_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
