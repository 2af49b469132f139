"""Measure what training one adapter changed elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

from outctl.evaluation.model_job import ModelJob
from outctl.files import write_json
from outctl.specs import RetentionSettings
from outctl.tasks.neutral import neutral_prompts

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


def evaluate_retention(job: ModelJob) -> None:
    """Measure retention and write it, with its provenance beside it.

    Args:
        job: what to evaluate.

    Raises:
        OutctlError: something that it reads was not made by the job that the specification names.
    """
    settings = job.spec.settings_as(RetentionSettings)

    def measure(loaded: "LoadedModel", output: Path) -> None:
        from outctl.evaluation.retention import measure_retention

        result = measure_retention(
            loaded,
            # Split by the seed that trainings split by too, whatever the experiment's.
            neutral_prompts("eval")[: settings.prompts],
            settings.texts,
            settings.answer_tokens,
            settings.evaluation.tokens_per_pass,
            settings.statistics.confidence,
            settings.statistics.bootstrap_samples,
            settings.seed,
        )
        content = {"model": settings.model, "variant": settings.variant, **result.model_dump(mode="json")}
        write_json(output, content)

    job.run(settings.model, settings.variant, settings.loading, [], measure)
