"""Sample answers of one model and variant to a case, and hold them against the exact probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from outctl.config.evaluations import Agreement, Evaluation
from outctl.evaluation.records import Progress
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream
from outctl.pipeline.setup import Job, Names, Setup
from outctl.stages.model_job import ModelJob, ModelSettings, ModelStage
from outctl.stages.prepared import MODEL_PACKAGES, loading_of, prompt_tokens
from outctl.storage.checkpoints import Stop
from outctl.tasks.samples import read_samples

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


class AgreementSettings(ModelSettings):
    """Its settings."""

    case_name: str
    samples: int
    draws: int
    evaluation: Evaluation
    seed: int


@dataclass(frozen=True, kw_only=True)
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


class EvaluateAgreement(ModelStage):
    """Sample answers to the questions of a case, and hold their frequencies against the exact probabilities."""

    name: ClassVar[str] = "evaluate-agreement"
    wildcards: ClassVar[Names] = ("model", "variant", "case")
    packages: ClassVar[tuple[str, ...]] = (*MODEL_PACKAGES, "numpy", "scipy", "simplemma", "wordfreq")
    section: ClassVar[str | None] = "agreement"
    entry = AgreementJob

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every model and variant that answers in text, and the cases that the section names."""
        cases = _config(setup).cases
        return ((model, variant, case) for model, variant in super().jobs(setup) for case in cases)

    def settings(self, setup: Setup, names: Names) -> AgreementSettings:
        """How many answers to how many questions."""
        model, variant, case = names
        return AgreementSettings(
            model=model,
            loading=loading_of(setup, model),
            variant=variant,
            case_name=case,
            samples=_config(setup).samples,
            draws=_config(setup).draws,
            evaluation=setup.experiment.evaluation,
            seed=setup.experiment.seed,
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """Also the samples of the case."""
        return [*super().upstream(setup, names), ("make-samples", names[2], "eval")]

    def output(self, layout: Layout, names: Names) -> Path:
        """The sampled answers beside their exact probabilities."""
        return layout.agreement(*names)

    def tokens(self, setup: Setup, names: Names) -> int:
        """At three tokens an answer."""
        return _config(setup).samples * (7 * prompt_tokens(setup, names[2]) + 30 * _config(setup).draws)


def _config(setup: Setup) -> Agreement:
    if setup.experiment.agreement is None:
        raise ValueError("the experiment samples no answers")
    return setup.experiment.agreement
