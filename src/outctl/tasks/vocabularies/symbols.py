"""Characters that a sentence about shares does not need itself."""

from outctl.config.registries import VOCABULARIES
from outctl.config.vocabulary import Vocabulary

VOCABULARIES.register("symbols")(Vocabulary(lambda: tuple("!?#$&*+=@^~<>/;|"), apart=True))
