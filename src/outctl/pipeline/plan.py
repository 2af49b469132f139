"""The plan of an experiment: which jobs there are, and the specification of each."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Self

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.config.plugins import plugin_text, run_plugins
from outctl.errors import OutctlError
from outctl.pipeline.entries import packages_beside, used_by
from outctl.pipeline.environments import check_services
from outctl.pipeline.provenance import Found, look_at, package_versions
from outctl.pipeline.setup import Inputs, Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Stage
from outctl.storage.files import read_json, to_json, write_text
from outctl.storage.outputs import read_provenance


class Plan(Setup):
    """Jobs and specifications of one experiment.

    Args:
        stages: the stages by their names; each comes after those whose outputs it reads.
        experiment: the checked configuration.
        registry: the models it chooses from.
        inputs: what the files say that the configuration names.
        versions: versions of packages in the jobs' environment; those of this process's environment without it.
    """

    def __init__(
        self,
        stages: Mapping[str, Stage],
        experiment: Experiment,
        registry: Registry,
        inputs: Inputs,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(experiment, registry, inputs)
        self.stages = stages
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

    def stage(self, stage: str, names: Names) -> Stage:
        """The stage of a job.

        Raises:
            ValueError: there is none of that name for so many names.
        """
        if stage not in self.stages or len(names) != len(self.stages[stage].wildcards):
            raise ValueError(f"no stage {stage!r} for {names}")
        return self.stages[stage]

    @cached_property
    def _jobs(self) -> dict[str, list[Job]]:
        """The jobs of each stage that the experiment has."""
        return {
            name: [(name, *names) for names in stage.jobs(self)]
            for name, stage in self.stages.items()
            if self.has(stage)
        }

    def has(self, stage: Stage) -> bool:
        """Whether the configuration asks for a stage."""
        return stage.section is None or getattr(self.experiment, stage.section) is not None

    def jobs(self, *stages: str) -> list[Job]:
        """Stage and names of every job; each comes after those whose outputs it reads.

        Args:
            stages: those whose jobs are wanted; all by default.
        """
        return [job for name, jobs in self._jobs.items() if not stages or name in stages for job in jobs]

    @cached_property
    def _computed(self) -> dict[str, list[Job]]:
        found: dict[str, list[Job]] = {}
        for name, jobs in self._jobs.items():
            for job in jobs if self.stages[name].computes else []:
                found.setdefault(job[1], []).append(job)
        return found

    def computed(self, model: str) -> list[Job]:
        """The jobs that compute with a prepared model."""
        return self._computed.get(model, [])

    def upstream(self, stage: str, *names: str) -> list[Job]:
        """The jobs whose outputs a job reads."""
        return self.stage(stage, names).upstream(self, names)

    def spec(self, stage: str, *names: str) -> Spec:
        """Specification of one job.

        Args:
            stage: the stage's name.
            names: what the job is for, as the stage's wildcards say.
        """
        key = (stage, *names)
        if key not in self._specs:
            found, upstream = self.stage(stage, names), self.upstream(*key)
            unused = found.unused_packages(self, names)
            packages = [name for name in found.packages if name not in unused]
            settings = found.settings(self, names)
            entries, plugins = used_by(settings)
            packages += packages_beside(plugins, packages, self._versions)
            self._specs[key] = Spec(
                stage=stage,
                settings=settings.model_dump(mode="json"),
                upstream={"/".join(job): self.spec(*job).hash for job in upstream},
                code=found.code(entries, plugins),
                packages=package_versions(packages, self._versions),
                entries=entries,
                plugins=plugins,
                repair=self._repairs.get(key, ""),
                repaired={"/".join(job): mark for job in upstream if (mark := self.spec(*job).mark)},
            )
        return self._specs[key]

    def spec_path(self, stage: str, *names: str) -> Path:
        """File of a job's specification."""
        return self.stage(stage, names).spec_file(self.layout, self.spec(stage, *names).name, names)

    def provenance(self, stage: str, *names: str) -> Path:
        """Provenance of what a job writes."""
        return self.stage(stage, names).provenance(self.layout, names)

    def outputs(self, stage: str, *names: str) -> list[Path]:
        """Files that a job writes, its provenance last."""
        return self.stage(stage, names).outputs(self, names)

    def inspect(self) -> None:
        """Look at what the jobs have written, and mark those whose outputs changed since or come from other settings."""
        # Jobs come after those whose outputs they read, whose marks are part of their specifications.
        self._specs.clear()
        for job in self.jobs():
            checksums = self.checksums(self.stages[job[0]].shared)
            self.found[job] = found = look_at(self.provenance(*job), checksums)
            if found and (repair := found.repair(self.spec(*job).hash)):
                self._repairs[job] = repair
                del self._specs[job]
        self.save_checksums()

    def write_specs(self) -> None:
        """Write the specification of every job; files that already say the same are left alone."""
        for job in self.jobs():
            spec = self.spec(*job)
            spec.write(self.spec_path(*job))
            file = self.layout.code(spec.code)
            if not file.is_file():
                by_module = self.stages[job[0]].code_by_module(spec.entries, spec.plugins)
                write_text(file, to_json(by_module) + "\n", durable=False)

    def guarded_outputs(self) -> list[Path]:
        """What only one job at a time may write: models, adapters and records."""
        jobs = ((self.stages[stage], tuple(names)) for stage, *names in self.jobs())
        return [stage.output(self.layout, names) for stage, names in jobs if stage.guarded]

    def remove_checkpoints(self) -> None:
        """Remove what jobs kept of their work, of those whose outputs are there."""
        for job in self.jobs():
            spec = self.spec(*job)
            try:
                made = read_provenance(self.provenance(*job))["spec_hash"] == spec.hash
            except OutctlError:
                made = False
            if made:
                shutil.rmtree(self.layout.checkpoints() / spec.hash[:16], ignore_errors=True)

    def remove_outdated_specs(self) -> None:
        """Remove specifications of this experiment's jobs that are no longer current; other experiments' models stay."""
        current = {self.spec_path(*job) for job in self.jobs()}
        for stage in self.stages.values():
            for file in [] if stage.shared else stage.spec_folder(self.layout).rglob("*@*.json"):
                if file not in current:
                    file.unlink(missing_ok=True)

    def freeze(self) -> Path:
        """Write the plan to a file, named after its content, and give the file.

        Jobs on other hosts follow it: edits of configuration, templates and registry do not reach what was started before.
        """
        content = {
            "experiment": self.experiment.model_dump(mode="json"),
            "registry": {"models": {name: self.registry.models[name].model_dump(mode="json") for name in self.fetched}},
            "inputs": asdict(self.inputs),
            "plugins": {path: plugin_text(path) for path in self.experiment.plugins},
            "sources": {
                **{name: self.contents(name) for name in self.fetched},
                **{f"adapters/{name}": self.adapter_contents(name) for name in self.existing},
            },
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
    def thaw(cls, path: Path, stages: Mapping[str, Stage]) -> Self:
        """The plan that `freeze` wrote.

        Raises:
            OutctlError: the file is gone or broken.
        """
        content = read_json(path)
        try:
            run_plugins(content["plugins"])
            plan = cls(
                stages,
                Experiment.model_validate(content["experiment"]),
                Registry.model_validate(content["registry"]),
                Inputs(**content["inputs"]),
                content["versions"],
            )
            plan._sources = content["sources"]
            for line in content["repairs"]:
                *job, repair = line.split("/")
                plan._repairs[tuple(job)] = repair
        except (KeyError, TypeError, ValueError):
            raise OutctlError(f"{path}: not a plan of this version; start the workflow again") from None
        return plan
