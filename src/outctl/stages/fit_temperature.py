"""Fit the temperature of a model's baseline on training samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.records import Progress
from outctl.pipeline.checkpoints import Stop
from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.specs import TemperatureSettings
from outctl.stages.model_job import ModelJob
from outctl.storage.files import write_json
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


@dataclass(frozen=True)
class TemperatureJob(ModelJob):
    """A fit of the temperature.

    Attributes:
        samples: the training samples' file.
    """

    samples: Path

    @property
    def settings(self) -> TemperatureSettings:
        """The settings of its specification."""
        return self.spec.settings_as(TemperatureSettings)

    def check(self) -> None:
        """Make sure that what it reads was made by the jobs that the specification names.

        Raises:
            OutctlError: something was not.
        """
        super().check()
        check_upstream(self.spec, f"make-samples/{self.settings.case_name}/train", beside(self.samples))

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Fit the temperature and write it.

        Raises:
            OutctlError: the samples leave the words to the model.
        """
        from outctl.evaluation.temperature import fit_temperature

        chosen = read_samples(self.samples)[: self.settings.samples]
        fit = fit_temperature(loaded, chosen, self.settings.evaluation.tokens_per_pass)
        write_json(self.finished, {"model": self.settings.model, **fit.model_dump(mode="json")})
