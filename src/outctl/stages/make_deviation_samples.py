"""Make the samples of `base_model_deviation`."""

from pathlib import Path

from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.specs import DeviationSamplesSettings, Spec
from outctl.tasks.deviation import draw_deviation_samples, write_deviation_samples


def make_deviation_samples(spec: Spec, output: Path) -> None:
    """Draw samples and write them, with their provenance beside them.

    Args:
        spec: the specification of this job.
        output: the samples' file.
    """
    settings = spec.settings_as(DeviationSamplesSettings)
    write_deviation_samples(output, draw_deviation_samples(settings.count, settings.texts, settings.seed))
    write_provenance(beside(output), spec, [output])
