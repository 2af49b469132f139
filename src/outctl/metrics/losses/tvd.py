"""The score itself, flat where a word has no probability yet."""

from outctl.config.registries import LOSSES
from outctl.metrics.divergences import tvd

LOSSES.register("tvd")(tvd)
