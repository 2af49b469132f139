"""Punishes mass elsewhere most."""

from outctl.config.registries import LOSSES
from outctl.metrics.divergences import reverse_kl

LOSSES.register("reverse_kl")(reverse_kl)
