"""First names."""

from importlib import resources
from pathlib import Path

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary
from outctl.tasks.lists import read_words


def names() -> tuple[str, ...]:
    """The names of `names.txt`."""
    return read_words(Path(str(resources.files(__package__).joinpath("names.txt"))))


VOCABULARIES.register("names")(Vocabulary(names, apart=True))
