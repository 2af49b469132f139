"""Ask one model and variant to break texts off: a record for each sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.records import Progress
from outctl.pipeline.checkpoints import Stop
from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.specs import DeviationSettings
from outctl.stages.model_job import ModelJob
from outctl.tasks.deviation import read_deviation_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


@dataclass(frozen=True)
class DeviationJob(ModelJob):
    """`base_model_deviation`.

    Attributes:
        samples: the samples' file.
        reference_dir: the reference model, prepared; None where each model's own base is the reference.
    """

    samples: Path
    reference_dir: Path | None = None

    @property
    def settings(self) -> DeviationSettings:
        """The settings of its specification."""
        return self.spec.settings_as(DeviationSettings)

    @property
    def asks_two_models(self) -> bool:
        """Whether it loads a reference beside the model."""
        return self.reference_dir is not None

    def check(self) -> None:
        """Make sure that what it reads was made by the jobs that the specification names.

        Raises:
            OutctlError: something was not.
        """
        super().check()
        check_upstream(self.spec, "make-deviation-samples", beside(self.samples))
        if self.reference_dir is not None:
            fetched = f"fetch-model/{self.settings.reference}"
            check_upstream(self.spec, fetched, self.reference_dir / "provenance.json", whole=False)

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Measure all samples and write the records."""
        from outctl.evaluation.deviation import measure_deviation
        from outctl.evaluation.deviation_records import write_deviation_records
        from outctl.inference.tree_forward import enable_trees
        from outctl.models.loading import load_model

        settings, reference = self.settings, None
        if self.reference_dir is not None and settings.reference_loading is not None:
            loading = settings.reference_loading
            reference = load_model(self.reference_dir, loading.precision, loading.chat)
            enable_trees(reference.model)
        records = measure_deviation(
            loaded,
            reference,
            read_deviation_samples(self.samples),
            settings.model,
            settings.variant,
            progress,
            max_new_tokens=settings.max_new_tokens,
            tokens_per_pass=settings.evaluation.tokens_per_pass,
        )
        write_deviation_records(self.finished, records)
