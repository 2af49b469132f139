"""A stage of the pipeline: one kind of job, with all that plan, workflow, command line and `outctl why` need to know of it.

A stage is defined in one file: a subclass of `Stage`, which plans, and what it runs, which reads a specification and files,
calls the science, and writes outputs with their provenance. The two are kept apart because a job's fingerprint covers what it
runs and nothing else: an edit of the planning changes specifications where it changes what a job depends on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from outctl.config.experiment import Experiment
from outctl.config.section import Section
from outctl.pipeline.fingerprint import code_of, fingerprint
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.setup import SPLITS, Job, Names, Setup

Files = dict[str, Path | list[Path]]
"""Paths by the parameters of what a stage runs, which are the flags of its command."""


NOTHING: Mapping[str, str] = MappingProxyType({})
"""No plug-ins."""


class Stage(ABC):
    """What there is to know of a stage. The docstring of a subclass is the help of its command."""

    name: ClassVar[str]
    """Its command; in Snakemake's rule, underscores stand for the dashes."""
    wildcards: ClassVar[Names] = ()
    """What a job is for, by the names of the rule's wildcards."""
    packages: ClassVar[tuple[str, ...]] = ()
    """The packages whose versions may change its result."""
    section: ClassVar[str | None] = None
    """The section of the configuration that asks for it; None where every experiment has it."""
    computes: ClassVar[bool] = False
    """Whether it computes with a prepared model."""
    shared: ClassVar[bool] = False
    """Whether its outputs lie with the models, which experiments share."""
    guarded: ClassVar[bool] = False
    """Whether only one job at a time may write its output (see `outctl.storage.locks.only_writer`)."""
    directory: ClassVar[bool] = False
    """Whether its output is a directory."""
    unit: ClassVar[str | None] = None
    """What its progress counts; None where it shows none."""
    entry: ClassVar[Callable[..., Any]]
    """What a job runs, defined at the top level of the stage's module. Its parameters are `spec`, the files that it wants, by
    the flags of the command, and of the wildcards, `progress` and `stages` those that it wants."""

    @abstractmethod
    def jobs(self, setup: Setup) -> Iterable[Names]:
        """What there is a job for, if the configuration asks for the stage."""

    @abstractmethod
    def settings(self, setup: Setup, names: Names) -> Section:
        """All that a job's result depends on in configuration, registry, and the files that they name."""

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """The jobs whose outputs a job reads."""
        return []

    def unused_packages(self, setup: Setup, names: Names) -> Collection[str]:
        """Packages that a job makes no use of, though others of its stage do."""
        return ()

    @abstractmethod
    def output(self, layout: Layout, names: Names) -> Path:
        """The file or directory that a job writes; the first file where it writes several."""

    def provenance(self, layout: Layout, names: Names) -> Path:
        """The provenance of what a job writes."""
        output = self.output(layout, names)
        return output / "provenance.json" if self.directory else beside(output)

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """The files that a job writes, its provenance last."""
        return [self.output(setup.layout, names), self.provenance(setup.layout, names)]

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """Where the files of a job lie in the workflow, by the flags of its command.

        Args:
            layout: where the workflow keeps its files.
            settings: the job's settings, as its specification holds them.
            names: what it is for.
        """
        return {"output": self.output(layout, names)}

    def others(self, experiment: Experiment) -> dict[str, Any]:
        """What the command takes of the configuration that no result depends on, by its flags."""
        return {}

    def choices(self, setup: Setup) -> Mapping[str, list[str]]:
        """The names that each wildcard may have."""
        return {
            "model": setup.models,
            "adapter": list(setup.recipes),
            "variant": setup.answering_in_text,
            "case": setup.cases,
            "split": list(SPLITS),
        }

    def tokens(self, setup: Setup, names: Names) -> int:
        """The tokens that a job processes, estimated in units of a forward pass."""
        return 0

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """A job's settings by the keys under which configuration and registry have them."""
        return {}

    def changes(self, before: Mapping[str, Any], now: Mapping[str, Any], names: Names) -> list[str]:
        """A line for each setting that differs."""
        old, new = self.keys(before, names), self.keys(now, names)
        return [
            f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}"
            for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)
        ]

    @property
    def parameters(self) -> list[str]:
        """What it takes."""
        return list(signature(self.entry).parameters)

    def start(self, arguments: Mapping[str, Any], progress: Any = None, ahead: Iterable[Any] = ()) -> None:
        """Do a job.

        Args:
            arguments: values of the parameters; what is no parameter is left out, such as `plan`, a function that gives the
                plan where there is one.
            progress: called as the job's units are done.
            ahead: jobs that a job with a loaded model may go on with.
        """
        self.entry(**self.picked({**arguments, "progress": progress}))

    def picked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Those arguments that are parameters."""
        return {name: arguments[name] for name in self.parameters if name in arguments}

    def code(self, entries: Sequence[str] = (), plugins: Mapping[str, str] = NOTHING) -> str:
        """The fingerprint of the code that a job runs.

        Args:
            entries: modules of the registries' entries that it uses.
            plugins: texts of the plug-ins that it uses, by their paths.
        """
        used = tuple(sorted(plugins.items()))
        return fingerprint(self.entry.__module__, self.entry.__name__, *entries, plugins=used)

    def code_by_module(self, entries: Sequence[str] = (), plugins: Mapping[str, str] = NOTHING) -> dict[str, str]:
        """What the fingerprint is made from: the part of the code that lies in each module."""
        used = tuple(sorted(plugins.items()))
        return code_of(self.entry.__module__, self.entry.__name__, *entries, plugins=used)

    def spec_folder(self, layout: Layout) -> Path:
        """Where the specifications of its jobs lie."""
        return layout.specs(self.shared) / self.name

    def spec_file(self, layout: Layout, spec_name: str, names: Names) -> Path:
        """A specification of a job; `@` is in no name, so one job's files are never another's."""
        return self.spec_folder(layout).joinpath(*names[:-1], f"{names[-1] if names else 'all'}@{spec_name}.json")

    def benchmark(self, layout: Layout, names: Names) -> Path:
        """What a job took, as Snakemake measured it."""
        folder = layout.benchmarks(self.shared) / self.name.replace("-", "_")
        return folder.joinpath(*names[:-1], f"{names[-1] if names else 'all'}.tsv")


def flat(value: Any, key: str) -> dict[str, Any]:
    """The values of nested sections by their whole keys."""
    if isinstance(value, dict):
        return {name: leaf for part in value for name, leaf in flat(value[part], f"{key}.{part}").items()}
    return {key: value}


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...") if isinstance(value, str) else text
