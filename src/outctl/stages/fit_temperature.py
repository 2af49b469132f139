"""Fit the temperature of a model's baseline on training samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from outctl.config.evaluations import Evaluation, TemperatureScaling
from outctl.config.names import BASELINE
from outctl.evaluation.records import Progress
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.setup import Job, Names, Setup
from outctl.stages.model_job import ModelJob, ModelSettings, ModelStage
from outctl.stages.prepared import MODEL_PACKAGES, loading_of, prompt_tokens
from outctl.storage.checkpoints import Stop
from outctl.storage.files import write_json
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


class TemperatureSettings(ModelSettings):
    """Its settings."""

    case_name: str
    samples: int
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
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

    @property
    def tokens_per_pass(self) -> int | None:
        """As the configuration sets them."""
        return self.settings.evaluation.tokens_per_pass

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


class FitTemperature(ModelStage):
    """Fit the one temperature at which the baseline comes nearest to what training samples ask for."""

    name: ClassVar[str] = "fit-temperature"
    wildcards: ClassVar[Names] = ("model",)
    packages: ClassVar[tuple[str, ...]] = (*MODEL_PACKAGES, "scipy", "simplemma", "wordfreq")
    section: ClassVar[str | None] = "temperature_scaling"
    split: ClassVar[str] = "train"
    unit: ClassVar[str | None] = None
    entry = TemperatureJob

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every model."""
        return ((model,) for model in setup.models)

    def settings(self, setup: Setup, names: Names) -> TemperatureSettings:
        """The case whose samples it is fitted on, and how the model is loaded and asked."""
        (model,) = names
        return TemperatureSettings(
            model=model,
            loading=loading_of(setup, model),
            variant=BASELINE,
            case_name=_config(setup).case,
            samples=_config(setup).samples,
            evaluation=setup.experiment.evaluation,
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Also the samples."""
        return [*super().upstream(setup, names), ("make-samples", _config(setup).case, "train")]

    def output(self, layout: Layout, names: Names) -> Path:
        """The temperature."""
        return layout.temperature(*names)

    def tokens(self, setup: Setup, names: Names) -> int:
        """Each sample once."""
        return _config(setup).samples * prompt_tokens(setup, _config(setup).case)


def _config(setup: Setup) -> TemperatureScaling:
    if setup.experiment.temperature_scaling is None:
        raise ValueError("the experiment scales no temperature")
    return setup.experiment.temperature_scaling
