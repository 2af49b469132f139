"""Ask one model and variant to break texts off: a record for each sample."""

from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.model_job import ModelJob
from outctl.evaluation.records import Progress
from outctl.layout import beside
from outctl.provenance import check_upstream
from outctl.specs import DeviationSettings
from outctl.tasks.deviation import read_deviation_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


def evaluate_deviation(
    job: ModelJob, samples: Path, reference_dir: Path | None, progress: Progress | None = None
) -> None:
    """Measure `base_model_deviation` and write the records, with their provenance beside them.

    Args:
        job: what to evaluate.
        samples: the samples' file.
        reference_dir: the reference model, prepared; None where each model's own base is the reference.
        progress: called as samples are done.

    Raises:
        OutctlError: something that it reads was not made by the job that the specification names.
    """
    settings = job.spec.settings_as(DeviationSettings)
    upstream = [("make-deviation-samples", beside(samples))]
    if settings.reference is not None and reference_dir is not None:
        check_upstream(job.spec, f"fetch-model/{settings.reference}", reference_dir / "provenance.json", whole=False)

    def measure(loaded: "LoadedModel", output: Path) -> None:
        from outctl.evaluation.deviation import measure_deviation
        from outctl.evaluation.deviation_records import write_deviation_records
        from outctl.inference.tree_forward import enable_trees
        from outctl.models.loading import load_model

        reference = None
        if reference_dir is not None and settings.reference_loading is not None:
            reference = load_model(reference_dir, settings.reference_loading.precision, settings.reference_loading.chat)
            enable_trees(reference.model)
        records = measure_deviation(
            loaded,
            reference,
            read_deviation_samples(samples),
            settings.model,
            settings.variant,
            progress,
            max_new_tokens=settings.max_new_tokens,
            tokens_per_pass=settings.evaluation.tokens_per_pass,
        )
        write_deviation_records(output, records)

    job.run(settings.model, settings.variant, settings.loading, upstream, measure)
