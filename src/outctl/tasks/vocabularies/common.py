"""Common English words."""

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary

VOCABULARIES.register("common")(Vocabulary())
