"""Specifications of jobs: all that a job's result depends on, as one small JSON file that the job reads instead of the config.

A spec holds the job's slice of the configuration, the fingerprint of the code it runs, the versions of the packages
that matter to it, and the hashes of the specs of the jobs whose outputs it reads. Its hash therefore changes exactly
when the result may. It is written while the workflow is read, to a file named after the hash, so that the plans of
different settings never touch each other's; it is an input of the rule, and its hash stands in the provenance of every
output.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from outctl.config.adapters import AdapterRecipe
from outctl.config.evaluations import Evaluation
from outctl.config.models import Precision, Source
from outctl.config.plugins import run_plugins
from outctl.config.registries import CaseConfig, MetricName
from outctl.config.section import Section
from outctl.config.statistics import Statistics
from outctl.errors import OutctlError
from outctl.storage.files import read_json, to_json, write_text

STAGES = {
    "fetch-model": "outctl.stages.fetch_model",
    "make-samples": "outctl.stages.make_samples",
    "finetune": "outctl.stages.finetune",
    "evaluate": "outctl.stages.evaluate",
    "make-deviation-samples": "outctl.stages.make_deviation_samples",
    "fit-temperature": "outctl.stages.fit_temperature",
    "evaluate-deviation": "outctl.stages.evaluate_deviation",
    "evaluate-retention": "outctl.stages.evaluate_retention",
    "evaluate-agreement": "outctl.stages.evaluate_agreement",
    "aggregate-model": "outctl.stages.aggregate_model",
    "aggregate": "outctl.stages.aggregate",
    "figures": "outctl.stages.figures",
    "report": "outctl.stages.report",
}
"""The stages of the pipeline, each with the module that does its work."""

_MODEL = ("accelerate", "bitsandbytes", "jinja2", "peft", "tokenizers", "torch", "transformers")
"""What every job uses that computes with a model."""
PACKAGES = {
    "fetch-model": ("gguf", "safetensors", "tokenizers", "torch", "transformers"),
    "make-samples": ("jinja2", "num2words", "simplemma", "wordfreq"),
    "finetune": (*_MODEL, "scipy"),
    "evaluate": (*_MODEL, "simplemma", "wordfreq"),
    "make-deviation-samples": (),
    "fit-temperature": (*_MODEL, "scipy", "simplemma", "wordfreq"),
    "evaluate-deviation": _MODEL,
    "evaluate-retention": (*_MODEL, "numpy", "scipy"),
    "evaluate-agreement": (*_MODEL, "numpy", "scipy", "simplemma", "wordfreq"),
    "aggregate-model": ("numpy", "scipy", "simplemma", "statsmodels", "torch", "wordfreq"),
    "aggregate": ("numpy", "pandas", "statsmodels"),
    "figures": ("matplotlib", "numpy", "pandas"),
    "report": ("altair", "jinja2", "numpy", "scipy", "vl-convert-python"),
}
"""The packages whose versions may change a stage's result; `outctl.pipeline.plan` knows which of them a job does without."""


class Loading(Section):
    """How a prepared model is loaded and asked."""

    chat: bool
    precision: Precision


class FetchSettings(Section):
    """Slice of `fetch-model`; `contents` stands for what a local directory holds, which its path does not tell."""

    source: Source
    contents: str | None = None


class SamplesSettings(Section):
    """Slice of `make-samples`: `case` has no sample counts, `template` is the template's content.

    `words` are those to draw from, where they are not the most common ones.
    """

    case_name: str
    split: str
    count: int
    case: CaseConfig
    template: dict[str, Any]
    words: list[str] | None = None
    seed: int


class FinetuneSettings(Section):
    """Slice of `finetune`."""

    model: str
    loading: Loading
    adapter: str
    recipe: AdapterRecipe


class ModelSettings(Section):
    """What the slices have in common of all jobs that ask a model something."""

    model: str
    loading: Loading
    variant: str


class EvaluateSettings(ModelSettings):
    """Slice of `evaluate`."""

    case_name: str
    evaluation: Evaluation


def _by_name(texts: dict[str, str]) -> dict[str, str]:
    """In one order, whether the specification comes from its file, which sorts names, or is made by hand."""
    return dict(sorted(texts.items()))


Texts = Annotated[dict[str, str], AfterValidator(_by_name)]


class DeviationSamplesSettings(Section):
    """Slice of `make-deviation-samples`: `texts` are those to take excerpts from, by their names."""

    count: int
    texts: Texts
    seed: int


class DeviationSettings(ModelSettings):
    """Slice of `evaluate-deviation`: the reference is the model's own base without one."""

    reference: str | None
    reference_loading: Loading | None
    max_new_tokens: int
    evaluation: Evaluation


class RetentionSettings(ModelSettings):
    """Slice of `evaluate-retention`: `texts` are those to measure perplexity on, by their names."""

    prompts: int
    answer_tokens: int
    texts: Texts
    evaluation: Evaluation
    statistics: Statistics
    seed: int


class AgreementSettings(ModelSettings):
    """Slice of `evaluate-agreement`."""

    case_name: str
    samples: int
    draws: int
    evaluation: Evaluation
    seed: int


class TemperatureSettings(ModelSettings):
    """Slice of `fit-temperature`."""

    case_name: str
    samples: int
    evaluation: Evaluation


class Compared(Section):
    """The variants that results compare.

    Attributes:
        variants: all variants, in the order of the tables.
        trained_on: the cases that each adapter trained on.
        sweeps: of each sweep its adapters, and of those the label of each key that is varied.
    """

    variants: list[str]
    trained_on: dict[str, list[str]]
    sweeps: dict[str, dict[str, dict[str, str]]]

    @property
    def adapters(self) -> list[str]:
        """The adapters in the order of the tables, which a specification keeps of lists alone."""
        return [variant for variant in self.variants if variant in self.trained_on]

    def ordered_sweeps(self) -> dict[str, dict[str, dict[str, str]]]:
        """The sweeps in that order, as are the adapters of each."""
        own = {name: [adapter for adapter in self.adapters if adapter in found] for name, found in self.sweeps.items()}
        names = sorted(own, key=lambda name: self.adapters.index(own[name][0]))
        return {name: {adapter: self.sweeps[name][adapter] for adapter in own[name]} for name in names}


class Compare(NamedTuple):
    """A comparison, paired by sample: a variant's answers to a case, and what they are held against."""

    variant: str
    case: str
    against_variant: str
    against_case: str


class AggregateSettings(Compared):
    """Slice of `aggregate-model` and `aggregate`, with the spec hash that each result must bear.

    Attributes:
        metrics: divergences that have columns beside those that are always there.
        recipes: how each adapter was trained.
        repeats: adapters that differ in their seed alone, under the name of the first.
        comparisons: what is compared with what.
        deviation, retention: whether these were measured.
        agreement: the cases whose answers were sampled.
    """

    models: list[str]
    cases: list[str]
    metrics: list[MetricName]
    recipes: dict[str, AdapterRecipe]
    repeats: dict[str, list[str]]
    comparisons: list[Compare]
    deviation: bool
    retention: bool
    agreement: list[str]
    statistics: Statistics
    seed: int


class Drawn(Compared):
    """The variants that figures show.

    Attributes:
        bases: of each sweep the adapter that it varies, with the label of each key that is varied.
    """

    bases: dict[str, dict[str, dict[str, str]]]

    def variations(self, sweep: str) -> dict[str, str]:
        """What each adapter of a sweep varies, in words; the one that they vary comes first and is called so."""
        varied = self.ordered_sweeps()[sweep]

        def words(labels: dict[str, str]) -> str:
            return ", ".join(f"{key} {label}" for key, label in labels.items())

        return {
            **{adapter: f"{words(labels)} (base)" for adapter, labels in self.bases[sweep].items()},
            **{adapter: words(labels) for adapter, labels in varied.items()},
        }


class FiguresSettings(Drawn):
    """Slice of `figures`."""

    figures: list[str]
    models: list[str]
    cases: list[str]


class ReportSettings(Drawn):
    """Slice of `report`.

    Attributes:
        models, cases: those of the experiment.
        assets: template, style and scripts of the page, by the names of their files.
    """

    models: list[str]
    cases: list[str]
    assets: Texts


Settings = TypeVar("Settings", bound=Section)


class Spec(Section):
    """One job's specification.

    `entries` are the modules of the registries' entries that its settings name, `plugins` the texts of the plug-ins that
    registered the others, by their paths. `repair` and `repaired` are no part of what a result depends on: they let it be
    made again, since its own outputs were found changed after they were written (`repair`), or those of a job upstream
    (`repaired`: the job, and its mark).
    """

    stage: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    code: str
    packages: dict[str, str]
    entries: list[str] = Field(default=[])
    plugins: dict[str, str] = Field(default={})
    repair: str = ""
    repaired: dict[str, str] = Field(default={})

    @property
    def hash(self) -> str:
        """Hash of everything that the result depends on, 64 hexadecimal digits."""
        content = self.model_dump(mode="json", exclude={"repair", "repaired"})
        return hashlib.sha256(to_json(content, indent=None).encode()).hexdigest()

    @property
    def mark(self) -> str:
        """What tells this specification from others with the same hash: its repairs, as 8 hexadecimal digits; most often none."""
        if not self.repaired:
            return self.repair
        return hashlib.sha256(to_json([self.repair, self.repaired], indent=None).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Short name of this very specification: the start of its hash, and its mark."""
        return f"{self.hash[:16]}-{self.mark}" if self.mark else self.hash[:16]

    def settings_as(self, schema: type[Settings]) -> Settings:
        """The settings, checked; what plug-ins register is there from now on."""
        run_plugins(self.plugins)
        return schema.model_validate(self.settings)

    def write(self, path: Path) -> None:
        """Write the spec, unless the file already says the same: its time then stays, and nothing looks newer."""
        text = to_json(self.model_dump(mode="json")) + "\n"
        try:
            same = path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            write_text(path, text, durable=False)


def read_spec(path: Path, stage: str) -> Spec:
    """Read a spec from its file.

    Raises:
        OutctlError: the file is missing, broken, or the spec of another stage.
    """
    try:
        spec = Spec.model_validate(read_json(path))
    except ValidationError as error:
        raise OutctlError(f"{path}: not a job's specification ({error.errors()[0]['msg']})") from None
    if spec.stage != stage:
        raise OutctlError(f"{path}: the specification of {spec.stage}, not of {stage}")
    return spec
