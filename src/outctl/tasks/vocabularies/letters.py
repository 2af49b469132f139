"""The letters of the alphabet."""

import string

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary

VOCABULARIES.register("letters")(Vocabulary(lambda: tuple(string.ascii_lowercase), apart=True))
