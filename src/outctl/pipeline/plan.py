"""The plan of an experiment: which jobs there are, and the specification of each."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.config.names import DEVIATION
from outctl.config.plugins import plugin_text, run_plugins
from outctl.config.reading import file_of, load_experiment
from outctl.errors import KeyedError, OutctlError
from outctl.pipeline.entries import code_fingerprint, code_of_job, packages_beside, used_by
from outctl.pipeline.environments import check_services
from outctl.pipeline.provenance import Found, look_at, package_versions, read_provenance
from outctl.pipeline.slices import Job, Slices
from outctl.pipeline.specs import STAGES, Spec
from outctl.storage.files import read_json, to_json, write_text
from outctl.tasks.templates import Template


class Plan(Slices):
    """Jobs and specifications of one experiment.

    Args:
        experiment: the checked configuration.
        registry: the models it chooses from.
        versions: versions of packages in the jobs' environment; those of this process's environment without it.
    """

    def __init__(self, experiment: Experiment, registry: Registry, versions: Mapping[str, str] | None = None) -> None:
        super().__init__(experiment, registry)
        self._versions = versions
        self._specs: dict[Job, Spec] = {}
        self._repairs: dict[Job, str] = {}
        self.found: dict[Job, Found | None] = {}
        """What `inspect` has found of each job."""

    def check_services(self) -> None:
        """Make sure that the services are installed that trainings are to report to.

        Raises:
            OutctlError: one is not.
        """
        check_services(self.experiment.logging.report_to, self._versions)

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
        drawn = self.experiment.cases[case].examples_drawn
        characters = sum(len(turn) for turn in turns) + (1 + drawn) * len(template.question)
        return 30 + characters // 3 + 10 * drawn

    def evaluation_tokens(self, case: str) -> int:
        """Tokens that an evaluation of a case processes, estimated."""
        config = self.experiment.cases[case]
        # Where the model picks its own words, they are looked for in several passes.
        passes = 7 if config.picks_words else 1
        return passes * config.eval_samples * self.prompt_tokens(case)

    def temperature_tokens(self) -> int:
        """Tokens that fitting a temperature processes, estimated."""
        scaling = self.experiment.temperature_scaling
        return scaling.samples * self.prompt_tokens(scaling.case) if scaling else 0

    def deviation_tokens(self) -> int:
        """Tokens that asking to break off processes, estimated; one after the other, which takes longer than at once."""
        config = self.experiment.base_model_deviation
        return 10 * config.samples * (150 + config.max_new_tokens) if config else 0

    def retention_tokens(self) -> int:
        """Tokens that measuring retention processes, estimated: everything is read with and without the adapter."""
        config = self.experiment.retention
        characters = sum(map(len, self.texts["retention"].values()))
        return 2 * (characters // 3 + config.prompts * (60 + 10 * config.answer_tokens)) if config else 0

    def agreement_tokens(self, case: str) -> int:
        """Tokens that sampling answers processes, estimated at three tokens an answer."""
        config = self.experiment.agreement
        return config.samples * (7 * self.prompt_tokens(case) + 30 * config.draws) if config else 0

    def training_tokens(self, adapter: str) -> int:
        """Tokens that a training processes, estimated, in units of a forward pass: forward and backward count three times."""
        recipe = self.recipes[adapter]
        length = max(self.prompt_tokens(case) for case in recipe.cases)
        measured = (recipe.steps // recipe.measure_every + 1) * recipe.held_out_samples
        return length * (3 * recipe.steps * recipe.batch_size * recipe.accumulation + measured)

    def spec(self, stage: str, *names: str) -> Spec:
        """Specification of one job.

        Args:
            stage: a stage of `outctl.pipeline.specs.STAGES`.
            names: what the job is for: model; case and split; model and adapter; model, variant and case; model; nothing.
        """
        key = (stage, *names)
        if key not in self._specs:
            settings, upstream = self.slice_of(stage, names)
            entries, plugins = used_by(settings)
            packages = self.packages_of(stage, names)
            packages += packages_beside(plugins, packages, self._versions)
            self._specs[key] = Spec(
                stage=stage,
                settings=settings.model_dump(mode="json"),
                upstream={"/".join(job): self.spec(*job).hash for job in upstream},
                code=code_fingerprint(stage, entries, plugins),
                packages=package_versions(packages, self._versions),
                entries=entries,
                plugins=plugins,
                repair=self._repairs.get(key, ""),
                repaired={"/".join(job): mark for job in upstream if (mark := self.spec(*job).mark)},
            )
        return self._specs[key]

    def spec_path(self, stage: str, *names: str) -> Path:
        """File of a job's specification."""
        return self.layout.spec(self.spec(stage, *names).name, stage, *names)

    def jobs(self) -> Iterator[Job]:
        """Stage and names of every job."""
        for model in self.fetched:
            yield "fetch-model", model
        for case, split in self.sample_files():
            yield "make-samples", case, split
        if self.experiment.base_model_deviation:
            yield ("make-deviation-samples",)
        for model in self.models:
            for adapter in self.recipes:
                yield "finetune", model, adapter
            if self.experiment.temperature_scaling:
                yield "fit-temperature", model
            for variant in self.variants:
                for case in self.cases:
                    yield "evaluate", model, variant, case
            yield from self.further_evaluations(model)
            yield "aggregate-model", model
        yield ("aggregate",)
        yield ("figures",)
        yield ("report",)

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
            case "make-deviation-samples", ():
                return [layout.samples(DEVIATION, "eval"), provenance]
            case "fit-temperature", (model,):
                return [layout.temperature(model), provenance]
            case "evaluate-deviation", (model, variant):
                return [layout.deviation(model, variant), provenance]
            case "evaluate-retention", (model, variant):
                return [layout.retention(model, variant), provenance]
            case "evaluate-agreement", (model, variant, case):
                return [layout.agreement(model, variant, case), provenance]
            case "aggregate-model", (model,):
                return [layout.model_results(model), provenance]
            case "aggregate", ():
                return [layout.combined(), *self.tables(), provenance]
            case "figures", ():
                tables = [layout.figure_numbers(name) for name in self.figures]
                return [*(layout.figure(name) for name in self.figures), *tables, provenance]
            case "report", ():
                return [layout.report(), provenance]
        # What else a model's directory holds depends on the model.
        return [provenance]

    def tables(self) -> list[Path]:
        """The tables that the experiment has something to put into, those of output control first."""
        layout, experiment = self.layout, self.experiment
        optional = {
            layout.comparison_table(): bool(self.comparisons),
            layout.matrix_table(): bool(self.recipes),
            layout.learning_table(): bool(self.recipes),
            layout.seed_table(): bool(self.repeats),
            layout.deviation_table(): bool(experiment.base_model_deviation),
            layout.retention_table(): bool(experiment.retention and self.recipes),
            layout.retention_position_table(): bool(experiment.retention and self.recipes),
            layout.agreement_table(): bool(experiment.agreement),
        }
        return [layout.results_table(), layout.case_table(), *(file for file, wanted in optional.items() if wanted)]

    def write_specs(self) -> None:
        """Write the specification of every job; files that already say the same are left alone."""
        for job in self.jobs():
            spec = self.spec(*job)
            spec.write(self.spec_path(*job))
            file = self.layout.code(spec.code)
            if not file.is_file():
                write_text(file, to_json(code_of_job(spec)) + "\n", durable=False)

    def guarded_outputs(self) -> list[Path]:
        """What only one job at a time may write (see `outctl.storage.locks.only_writer`): models, adapters and records."""
        layout = self.layout
        files: dict[str, Callable[..., Path]] = {
            "fetch-model": layout.model,
            "finetune": layout.adapter,
            "evaluate": layout.records,
            "fit-temperature": layout.temperature,
            "evaluate-deviation": layout.deviation,
            "evaluate-retention": layout.retention,
            "evaluate-agreement": layout.agreement,
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
            "registry": {"models": {name: self.registry.models[name].model_dump(mode="json") for name in self.fetched}},
            "templates": {name: template.model_dump(mode="json") for name, template in self.templates.items()},
            "vocabularies": self.vocabularies,
            "plugins": {path: plugin_text(path) for path in self.experiment.plugins},
            "sources": {name: self.contents(name) for name in self.fetched},
            "texts": self.texts,
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
            run_plugins(content["plugins"])
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
            plan.texts = content["texts"]
            for line in content["repairs"]:
                *job, repair = line.split("/")
                plan._repairs[tuple(job)] = repair
        except (KeyError, TypeError, ValueError):
            raise OutctlError(f"{path}: not a plan of this version; start the workflow again") from None
        return plan


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
        _ = plan.templates, plan.vocabularies, plan.recipes, plan.texts, plan.comparisons
    except KeyedError as mistake:
        raise OutctlError(f"{file_of(mistake.key, data, files)}: {mistake}") from None
    return plan
