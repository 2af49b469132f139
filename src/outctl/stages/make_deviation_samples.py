"""The samples of `base_model_deviation`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from outctl.config.names import DEVIATION
from outctl.config.section import Section
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.setup import Names, Setup
from outctl.pipeline.specs import Spec, Texts
from outctl.pipeline.stage import Stage


class DeviationSamplesSettings(Section):
    """Its settings: `texts` are those to take excerpts from, by their names."""

    count: int
    texts: Texts
    seed: int


def run(spec: Spec, output: Path) -> None:
    """Draw samples and write them, with their provenance beside them.

    Args:
        spec: the specification of this job.
        output: the samples' file.
    """
    from outctl.tasks.deviation import draw_deviation_samples, write_deviation_samples

    settings = spec.settings_as(DeviationSamplesSettings)
    write_deviation_samples(output, draw_deviation_samples(settings.count, settings.texts, settings.seed))
    write_provenance(beside(output), spec, [output])


class MakeDeviationSamples(Stage):
    """Draw the samples of base_model_deviation: texts to continue and then to break off."""

    name: ClassVar[str] = "make-deviation-samples"
    section: ClassVar[str | None] = DEVIATION
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> list[Names]:
        """One, since every model answers the same samples."""
        return [()]

    def settings(self, setup: Setup, names: Names) -> DeviationSamplesSettings:
        """How many samples, of which texts."""
        config = setup.experiment.base_model_deviation
        return DeviationSamplesSettings(
            count=config.samples if config else 0, texts=setup.inputs.texts[DEVIATION], seed=setup.experiment.seed
        )

    def output(self, layout: Layout, names: Names) -> Path:
        """The samples' file."""
        return layout.samples(DEVIATION, "eval")

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the section, its texts, and the seed."""
        texts = {f"text {name} of {DEVIATION}": text for name, text in settings["texts"].items()}
        return {f"{DEVIATION}.samples": settings["count"], "seed": settings["seed"]} | texts
