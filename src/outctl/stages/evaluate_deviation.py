"""Ask one model and variant to break texts off: a record for each sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from outctl.config.evaluations import BaseModelDeviation, Evaluation
from outctl.config.names import DEVIATION
from outctl.evaluation.records import Progress
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.stage import Files
from outctl.stages.model_job import ModelJob, ModelSettings, ModelStage
from outctl.stages.prepared import MODEL_PACKAGES, Loading, loading_of
from outctl.storage.checkpoints import Stop
from outctl.tasks.deviation import read_deviation_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


class DeviationSettings(ModelSettings):
    """Its settings: the reference is the model's own base without one."""

    reference: str | None
    reference_loading: Loading | None
    max_new_tokens: int
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
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
        check_upstream(self.spec, "make-deviation-samples", beside(self.samples))
        if self.reference_dir is not None:
            fetched = f"fetch-model/{self.settings.reference}"
            check_upstream(self.spec, fetched, self.reference_dir / "provenance.json", whole=False)

    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Measure all samples and write the records."""
        from outctl.evaluation.deviation import measure_deviation
        from outctl.evaluation.deviation_records import write_deviation_records
        from outctl.inference.engine_check import prepare
        from outctl.inference.passes import keep_tokens, tokens_that_fit
        from outctl.models.loading import load_model

        settings, reference = self.settings, None
        if self.reference_dir is not None and settings.reference_loading is not None:
            loading = settings.reference_loading
            reference = load_model(self.reference_dir, loading.precision, loading.chat, options=loading)
            prepare(reference, loading.engine)
            keep_tokens(reference.model, tokens_that_fit(loaded.model))
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


class EvaluateDeviation(ModelStage):
    """Ask a model to continue texts and then to break off with what a base model would not say."""

    name: ClassVar[str] = "evaluate-deviation"
    wildcards: ClassVar[Names] = ("model", "variant")
    packages: ClassVar[tuple[str, ...]] = MODEL_PACKAGES
    section: ClassVar[str | None] = DEVIATION
    entry = DeviationJob

    def settings(self, setup: Setup, names: Names) -> DeviationSettings:
        """How the model and the reference are loaded and asked."""
        model, variant = names
        reference = _reference(setup, model)
        return DeviationSettings(
            model=model,
            loading=loading_of(setup, model),
            variant=variant,
            reference=reference,
            reference_loading=loading_of(setup, reference) if reference else None,
            max_new_tokens=_config(setup).max_new_tokens,
            evaluation=setup.experiment.evaluation,
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Also the samples, and the reference."""
        reference = _reference(setup, names[0])
        others: list[Job] = [("fetch-model", reference)] if reference else []
        return [*super().upstream(setup, names), ("make-deviation-samples",), *others]

    def output(self, layout: Layout, names: Names) -> Path:
        """The records."""
        return layout.deviation(*names)

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """Also the samples, and the reference."""
        reference: Files = {"reference_dir": layout.model(settings["reference"])} if settings["reference"] else {}
        return {**super().files(layout, settings, names), "samples": layout.samples(DEVIATION, "eval"), **reference}

    def tokens(self, setup: Setup, names: Names) -> int:
        """One after the other, which takes longer than at once."""
        return 10 * _config(setup).samples * (150 + _config(setup).max_new_tokens)


def _config(setup: Setup) -> BaseModelDeviation:
    if setup.experiment.base_model_deviation is None:
        raise ValueError("the experiment asks nobody to break off")
    return setup.experiment.base_model_deviation


def _reference(setup: Setup, model: str) -> str | None:
    """The model that judges a deviation; None where it is the model itself, without its adapter."""
    reference = _config(setup).reference
    return None if reference == model else reference
