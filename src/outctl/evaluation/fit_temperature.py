"""Fit the temperature of a model's baseline on training samples."""

from pathlib import Path
from typing import TYPE_CHECKING

from outctl.config import BASELINE
from outctl.evaluation.model_job import ModelJob
from outctl.files import write_json
from outctl.layout import beside
from outctl.specs import TemperatureSettings
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


def fit_baseline(job: ModelJob, samples: Path) -> None:
    """Fit the temperature and write it, with its provenance beside it.

    Args:
        job: what to fit.
        samples: the training samples' file.

    Raises:
        OutctlError: something that it reads was not made by the job that the specification names, or the samples leave the
            words to the model.
    """
    settings = job.spec.settings_as(TemperatureSettings)

    def measure(loaded: "LoadedModel", output: Path) -> None:
        from outctl.evaluation.temperature import fit_temperature

        chosen = read_samples(samples)[: settings.samples]
        fit = fit_temperature(loaded, chosen, settings.evaluation.tokens_per_pass)
        write_json(output, {"model": settings.model, **fit.model_dump(mode="json")})

    upstream = [(f"make-samples/{settings.case_name}/train", beside(samples))]
    job.run(settings.model, BASELINE, settings.loading, upstream, measure)
