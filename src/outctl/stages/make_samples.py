"""Make the samples of one case and split."""

from pathlib import Path

from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.specs import SamplesSettings, Spec
from outctl.tasks.cases import draw_samples
from outctl.tasks.samples import write_samples
from outctl.tasks.templates import Template


def make_samples(spec: Spec, output: Path) -> None:
    """Draw samples and write them, with their provenance beside them.

    Args:
        spec: the specification of this job.
        output: the samples' file.

    Raises:
        OutctlError: the template does not fit the case, or the vocabulary is too small.
    """
    settings = spec.settings_as(SamplesSettings)
    template = Template.model_validate(settings.template)
    words = None if settings.words is None else tuple(settings.words)
    samples = draw_samples(
        settings.case, template, settings.case_name, settings.split, settings.count, settings.seed, words
    )
    write_samples(output, samples)
    write_provenance(beside(output), spec, [output])
