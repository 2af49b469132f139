"""Sample answers of one model and variant to a case, and hold them against the exact probabilities."""

from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.model_job import ModelJob
from outctl.evaluation.records import Progress
from outctl.layout import beside
from outctl.specs import AgreementSettings
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


def evaluate_agreement(job: ModelJob, samples: Path, progress: Progress | None = None) -> None:
    """Sample answers and write how they agree, with the provenance beside it.

    Args:
        job: what to evaluate.
        samples: the samples' file.
        progress: called as samples are done.

    Raises:
        OutctlError: something that it reads was not made by the job that the specification names.
    """
    settings = job.spec.settings_as(AgreementSettings)

    def measure(loaded: "LoadedModel", output: Path) -> None:
        from outctl.evaluation.agreement import write_agreement
        from outctl.evaluation.sampling import measure_agreement

        records = measure_agreement(
            loaded,
            read_samples(samples)[: settings.samples],
            settings.model,
            settings.variant,
            settings.evaluation,
            settings.draws,
            settings.seed,
            progress,
        )
        write_agreement(output, records)

    upstream = [(f"make-samples/{settings.case_name}/eval", beside(samples))]
    job.run(settings.model, settings.variant, settings.loading, upstream, measure)
