"""The ten digits."""

import string

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary

VOCABULARIES.register("digits")(Vocabulary(lambda: tuple(string.digits), apart=True))
