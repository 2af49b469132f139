"""Values that the command line gives to keys of the configuration: `--config 'resources={threads: 2}'`.

Snakemake finds out the type of a whole value and reads the values inside of one as text. What files say keeps its type.
"""

from collections.abc import Mapping
from typing import Any

from outctl.config.strict_yaml import read_scalar


def typed(data: Any, given: Mapping[str, Any]) -> Any:
    """The configuration with nested values of the command line read as a file's would be.

    Args:
        data: the merged configuration.
        given: what the command line gives, as Snakemake reads it.
    """
    if not isinstance(data, Mapping):
        return data
    # Text that stands for a whole value is text: Snakemake has tried numbers and truth values already.
    nested = {key: value for key, value in given.items() if not isinstance(value, str)}
    return {key: _typed(value, nested[key]) if key in nested else value for key, value in data.items()}


def _typed(value: Any, given: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return {key: _typed(part, given[key]) if key in given else part for key, part in value.items()}
    # A Snakefile may have set another value since.
    if isinstance(value, list) and value == given:
        return [_typed(part, part) for part in value]
    return read_scalar(value) if isinstance(value, str) and value == given else value
