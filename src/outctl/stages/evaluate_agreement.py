"""Sample answers of one model and variant to a case, and hold them against the exact probabilities."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.records import Progress
from outctl.pipeline.checkpoints import Stop
from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.specs import AgreementSettings
from outctl.stages.model_job import ModelJob
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


@dataclass(frozen=True)
class AgreementJob(ModelJob):
    """Sampled answers.

    Attributes:
        samples: the samples' file.
    """

    samples: Path

    @property
    def settings(self) -> AgreementSettings:
        """The settings of its specification."""
        return self.spec.settings_as(AgreementSettings)

    def check(self) -> None:
        """Make sure that what it reads was made by the jobs that the specification names.

        Raises:
            OutctlError: something was not.
        """
        super().check()
        check_upstream(self.spec, f"make-samples/{self.settings.case_name}/eval", beside(self.samples))

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Sample answers and write how they agree."""
        from outctl.evaluation.agreement import write_agreement
        from outctl.evaluation.sampling import measure_agreement

        settings = self.settings
        records = measure_agreement(
            loaded,
            read_samples(self.samples)[: settings.samples],
            settings.model,
            settings.variant,
            settings.evaluation,
            settings.draws,
            settings.seed,
            progress,
        )
        write_agreement(self.finished, records)
