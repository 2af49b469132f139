"""The samples of one case and split."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from outctl.config.registries import CaseConfig
from outctl.config.section import Section
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import write_provenance
from outctl.pipeline.setup import SPLITS, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Stage, flat

if TYPE_CHECKING:
    from outctl.tasks.samples import Sample


class SamplesSettings(Section):
    """Its settings: `case` has no sample counts, `template` is the template's content.

    `words` are those to draw from, where they are not the most common ones.
    """

    case_name: str
    split: str
    count: int
    case: CaseConfig
    template: dict[str, Any]
    words: list[str] | None = None
    seed: int


def first_samples(setup: Setup, case: str, count: int, split: str = "eval") -> "list[Sample]":
    """The first samples of a case and split, as the workflow would draw them.

    Raises:
        OutctlError: the template does not fit the case, or the vocabulary is too small.
    """
    from outctl.tasks.cases import draw_samples
    from outctl.tasks.templates import Template

    template, words = Template.model_validate(setup.inputs.templates[case]), setup.inputs.vocabularies.get(case)
    listed = None if words is None else tuple(words)
    config, seed = setup.experiment.cases[case], setup.experiment.seed
    return list(draw_samples(config, template, case, split, count, seed, listed))


def run(spec: Spec, output: Path) -> None:
    """Draw samples and write them, with their provenance beside them.

    Args:
        spec: the specification of this job.
        output: the samples' file.

    Raises:
        OutctlError: the template does not fit the case, or the vocabulary is too small.
    """
    from outctl.tasks.cases import draw_samples
    from outctl.tasks.samples import write_samples
    from outctl.tasks.templates import Template

    settings = spec.settings_as(SamplesSettings)
    template = Template.model_validate(settings.template)
    words = None if settings.words is None else tuple(settings.words)
    samples = draw_samples(
        settings.case, template, settings.case_name, settings.split, settings.count, settings.seed, words
    )
    write_samples(output, samples)
    write_provenance(beside(output), spec, [output])


class MakeSamples(Stage):
    """Draw the samples of a case: seeded questions that every model answers alike."""

    name: ClassVar[str] = "make-samples"
    wildcards: ClassVar[Names] = ("case", "split")
    packages: ClassVar[tuple[str, ...]] = ("jinja2", "num2words", "simplemma", "wordfreq")
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every case and split whose samples some job reads."""
        trained = {case for recipe in setup.recipes.values() for case in recipe.cases}
        if setup.experiment.temperature_scaling:
            trained.add(setup.experiment.temperature_scaling.case)
        for case in setup.cases:
            yield from ((case, split) for split in SPLITS if split == "eval" or case in trained)

    def settings(self, setup: Setup, names: Names) -> SamplesSettings:
        """The case as far as its samples depend on it."""
        case, split = names
        config = setup.experiment.cases[case]
        count = config.train_samples if split == "train" else config.eval_samples
        listed = setup.inputs.vocabularies[case]
        return SamplesSettings(
            case_name=case,
            split=split,
            count=count,
            case=config.as_drawn(split, listed is not None),
            template=setup.inputs.templates[case],
            words=listed,
            seed=setup.experiment.seed,
        )

    def output(self, layout: Layout, names: Names) -> Path:
        """The samples' file."""
        return layout.samples(*names)

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the case, its template, and the seed."""
        case, split = names
        own = settings["case"] | {
            "train_samples": None,
            "eval_samples": None,
            f"{split}_samples": settings["count"],
        }
        template = {f"{key} of the template of cases.{case}": text for key, text in settings["template"].items()}
        return flat(own, f"cases.{case}") | template | {"seed": settings["seed"]}
