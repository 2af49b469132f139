"""Bounded: between forward and reverse KL."""

from outctl.config.registries import LOSSES
from outctl.metrics.divergences import js

LOSSES.register("js")(js)
