"""Phrases of two common English words."""

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary

VOCABULARIES.register("phrases")(Vocabulary(parts=2))
