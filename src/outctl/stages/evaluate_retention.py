"""Measure what training one adapter changed elsewhere."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outctl.evaluation.records import Progress
from outctl.pipeline.checkpoints import Stop
from outctl.pipeline.specs import RetentionSettings
from outctl.stages.model_job import ModelJob
from outctl.storage.files import write_json
from outctl.tasks.neutral import neutral_prompts

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


@dataclass(frozen=True)
class RetentionJob(ModelJob):
    """Retention."""

    @property
    def settings(self) -> RetentionSettings:
        """The settings of its specification."""
        return self.spec.settings_as(RetentionSettings)

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Measure retention and write it."""
        from outctl.evaluation.retention import measure_retention

        settings = self.settings
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
        write_json(self.finished, content)
