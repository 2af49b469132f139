"""Measure what training one adapter changed elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from outctl.config.evaluations import Evaluation, Retention
from outctl.config.statistics import Statistics
from outctl.evaluation.records import Progress
from outctl.pipeline.layout import Layout
from outctl.pipeline.setup import Names, Setup
from outctl.pipeline.specs import Texts
from outctl.stages.model_job import ModelJob, ModelSettings, ModelStage
from outctl.stages.prepared import MODEL_PACKAGES, loading_of
from outctl.storage.checkpoints import Stop
from outctl.storage.files import write_json
from outctl.tasks.neutral import neutral_prompts

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


class RetentionSettings(ModelSettings):
    """Its settings: `texts` are those to measure perplexity on, by their names."""

    prompts: int
    answer_tokens: int
    texts: Texts
    evaluation: Evaluation
    statistics: Statistics
    seed: int


@dataclass(frozen=True, kw_only=True)
class RetentionJob(ModelJob):
    """Retention."""

    @property
    def settings(self) -> RetentionSettings:
        """The settings of its specification."""
        return self.spec.settings_as(RetentionSettings)

    @property
    def tokens_per_pass(self) -> int | None:
        """As the configuration sets them."""
        return self.settings.evaluation.tokens_per_pass

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


class EvaluateRetention(ModelStage):
    """Measure what training changed elsewhere: neutral prompts and held-out text."""

    name: ClassVar[str] = "evaluate-retention"
    wildcards: ClassVar[Names] = ("model", "variant")
    packages: ClassVar[tuple[str, ...]] = (*MODEL_PACKAGES, "numpy", "scipy")
    section: ClassVar[str | None] = "retention"
    unit: ClassVar[str | None] = None
    entry = RetentionJob

    def settings(self, setup: Setup, names: Names) -> RetentionSettings:
        """How the model is loaded, and what it is asked."""
        model, variant = names
        return RetentionSettings(
            model=model,
            loading=loading_of(setup, model),
            variant=variant,
            prompts=_config(setup).prompts,
            answer_tokens=_config(setup).answer_tokens,
            texts=setup.inputs.texts["retention"],
            evaluation=setup.experiment.evaluation,
            statistics=setup.experiment.statistics,
            seed=setup.experiment.seed,
        )

    def output(self, layout: Layout, names: Names) -> Path:
        """What training changed."""
        return layout.retention(*names)

    def choices(self, setup: Setup) -> Mapping[str, list[str]]:
        """Adapters alone, which are compared with the baseline."""
        return {**super().choices(setup), "variant": setup.adapters}

    def tokens(self, setup: Setup, names: Names) -> int:
        """Everything is read with and without the adapter."""
        characters = sum(map(len, setup.inputs.texts["retention"].values()))
        return 2 * (characters // 3 + _config(setup).prompts * (60 + 10 * _config(setup).answer_tokens))


def _config(setup: Setup) -> Retention:
    if setup.experiment.retention is None:
        raise ValueError("the experiment measures no retention")
    return setup.experiment.retention
