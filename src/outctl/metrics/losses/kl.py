"""Has the gradient of soft-label cross-entropy and pulls on words of no probability as well; the default."""

from outctl.config.registries import LOSSES
from outctl.metrics.divergences import kl

LOSSES.register("kl")(kl)
