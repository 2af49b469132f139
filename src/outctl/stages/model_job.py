"""What all jobs have in common that ask a model something and write one file.

Such a job computes for seconds and loads for longer, so a model that is loaded is used: when its own work is done, a job goes
on with what other jobs of the same run are about to ask of the same model and variant. What they would write is kept where a
finished file of their own would be, and those jobs take it over without loading anything.
"""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from outctl.config.names import BASELINE, TEMPERATURE
from outctl.config.section import Section
from outctl.errors import OutctlError, first_line
from outctl.evaluation.records import Progress
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream, is_made, write_provenance
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Files, flat
from outctl.stages.prepared import ComputingStage, Loading, made_with
from outctl.storage.checkpoints import Stop, chosen_once, end_well
from outctl.storage.files import copy_file
from outctl.storage.locks import BusyError, only_writer

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel

AHEAD = 150.0
"""Seconds since the loading began in which a job may turn to another one's work. One that a time limit ends in the midst of it
comes back, and takes over what it had finished of its own."""


class ModelSettings(Section):
    """What the settings of all such jobs have in common."""

    model: str
    loading: Loading
    variant: str


@dataclass(frozen=True, kw_only=True)
class ModelJob(ABC):
    """What such a job reads and writes; each kind adds what else it reads, and how it measures.

    Attributes:
        spec: its specification.
        model_dir: the prepared model.
        output: the file to write.
        checkpoints: where what is done of it is kept until the workflow knows of the finished file.
        adapter_dir: the adapter to ask with; None without one.
    """

    spec: Spec
    model_dir: Path
    output: Path
    checkpoints: Path
    adapter_dir: Path | None = None

    @property
    @abstractmethod
    def settings(self) -> ModelSettings:
        """The settings of its specification."""

    @property
    def tokens_per_pass(self) -> int | None:
        """Tokens of a pass, where the configuration sets them."""
        return None

    @property
    def asks_two_models(self) -> bool:
        """Whether it loads another model beside its own: nobody who has loaded that one asked for the memory."""
        return False

    @abstractmethod
    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Ask the model, and write `finished`.

        Args:
            loaded: the model, with the adapter, its engine chosen.
            progress: called as samples are done.
            stop: whether the process was asked to stop; what keeps parts listens for it.

        Raises:
            OutctlError: the model cannot be asked this, or the job was asked to stop.
        """

    def details(self, loaded: "LoadedModel") -> dict[str, str]:
        """What else belongs into the provenance of its file."""
        return {}

    @property
    def folder(self) -> Path:
        """Where what is done of it is kept."""
        return self.checkpoints / self.spec.hash[:16]

    @property
    def finished(self) -> Path:
        """Its file once it is whole: the workflow deletes the output of a job that it lost, when it was itself killed."""
        return self.folder / "finished" / self.output.name

    def check(self) -> None:
        """Make sure that what it reads was made by the jobs that the specification names.

        Raises:
            OutctlError: something was not.
        """
        fetched = f"fetch-model/{self.settings.model}"
        check_upstream(self.spec, fetched, self.model_dir / "provenance.json", whole=False)
        if self.adapter_dir is not None:
            for made in ("finetune", "fetch-adapter"):
                job = f"{made}/{self.settings.model}/{self.settings.variant}"
                check_upstream(self.spec, job, self.adapter_dir / "provenance.json")

    def run(self, progress: Progress | None = None, ahead: "Iterable[ModelJob]" = ()) -> None:
        """Load the model, measure, and write the output with its provenance beside it, whole or not at all.

        Args:
            progress: called as samples are done.
            ahead: what others are about to ask of the same model and variant; looked at once the output is written, if the model
                had to be loaded.

        Raises:
            OutctlError: something that it reads was not made by the job that the specification names, the adapter does not
                belong to the model, the model cannot be asked this, or the job was asked to stop.
        """
        began = time.monotonic()
        self.check()
        loaded: LoadedModel | None = None
        stop = Stop()
        with only_writer(self.output), only_writer(self.folder):
            if is_made(beside(self.finished), self.spec):
                print(f"{self.output}: finished by another start, taken from {self.finished}")
            else:
                loaded = _load_ready(self.model_dir, self.settings.loading, self.adapter_dir)
                self._finish(loaded, progress, stop)
            copy_file(self.finished, self.output)
            copy_file(beside(self.finished), beside(self.output))
        if loaded is None:
            return
        previous = signal.signal(signal.SIGTERM, end_well)
        try:
            others = iter(ahead)
            while not stop.requested and time.monotonic() - began < AHEAD:
                other = next(others, None)
                if other is None:
                    break
                if not other.asks_two_models:
                    other._go_ahead(loaded, stop)
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _go_ahead(self, loaded: "LoadedModel", stop: Stop) -> None:
        """Do the work with a model that another job loaded, as far as nobody works on it; what goes wrong is left to its job."""
        try:
            self.check()
            with ExitStack() as locks:
                for path in (self.output, self.folder):
                    locks.enter_context(only_writer(path, wait=False))
                if not is_made(beside(self.finished), self.spec):
                    self._finish(loaded, None, stop)
                    print(f"{self.output}: made too, since the model was loaded; its own job takes it over")
        except (BusyError, OutctlError):
            return
        except Exception as error:
            # The other job's own start shows it whole; here it must not cost this job's output.
            print(f"{self.output}: left to its own job: {first_line(error)}")

    def _finish(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Measure, and keep what was measured with its provenance among the checkpoints."""
        from outctl.inference.passes import keep_tokens, tokens_that_fit

        tokens = self.tokens_per_pass or chosen_once(
            self.folder / "tokens_per_pass.json", lambda: tokens_that_fit(loaded.model)
        )
        keep_tokens(loaded.model, tokens)
        self.measure(loaded, progress, stop)
        details = {
            "base_weights_hash": loaded.weights_hash,
            "tokens_per_pass": tokens,
            **loaded.description,
            **self.details(loaded),
        }
        write_provenance(beside(self.finished), self.spec, [self.finished], **details)


def _load_ready(model_dir: Path, loading: Loading, adapter: Path | None) -> "LoadedModel":
    """Load a model, with or without an adapter, whose engine is chosen."""
    # Here, so that a job whose output is there already need not wait for the import of torch.
    from outctl.inference.engine_check import prepare
    from outctl.models.loading import load_model

    loaded = load_model(model_dir, loading.precision, loading.chat, adapter, loading)
    prepare(loaded, loading.engine)
    return loaded


class ModelStage(ComputingStage):
    """A stage whose jobs are such."""

    entry: ClassVar[type[ModelJob]]
    split: ClassVar[str] = "eval"
    """The split of the case whose samples it reads, if it is of a case."""
    unit: ClassVar[str | None] = "samples"

    @property
    def in_series(self) -> bool:
        """Whether its jobs go on with others of the same model and variant, and those with them."""
        return "variant" in self.wildcards

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every model and each of its variants."""
        for model in setup.models:
            own = setup.variants_of(model)
            yield from ((model, variant) for variant in self.choices(setup)["variant"] if variant in own)

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """The model, and what the variant is asked with."""
        return [("fetch-model", names[0]), *(made_with(setup, *names[:2]) if self.in_series else [])]

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """What all such jobs read and write, and the samples of a case."""
        model, variant = settings["model"], settings["variant"]
        found: Files = {
            "model_dir": layout.model(model),
            "output": self.output(layout, names),
            "checkpoints": layout.checkpoints(),
        }
        if "case_name" in settings:
            found["samples"] = layout.samples(settings["case_name"], self.split)
        if variant == TEMPERATURE:
            found["temperature"] = layout.temperature(model)
        elif variant != BASELINE:
            found["adapter_dir"] = layout.adapter(model, variant)
        return found

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the model's entry in the registry, of `evaluation`, `statistics`, and the section that asks for it."""
        others = (*ModelSettings.model_fields, "evaluation", "statistics", "case_name")
        own = {name: value for name, value in settings.items() if name not in others}
        return {
            **flat(settings["loading"], f"models.{names[0]}"),
            **flat(settings["evaluation"], "evaluation"),
            **flat(own, self.section or self.name),
            **flat(settings.get("statistics", {}), "statistics"),
        }

    def start(self, arguments: Mapping[str, Any], progress: Any = None, ahead: Iterable[Any] = ()) -> None:
        """Do a job, and then what others are about to ask of the same model and variant."""
        self.entry(**self.picked(arguments)).run(progress, ahead)

    def planned(self, layout: Layout, spec: Spec, names: Names) -> ModelJob:
        """A job with everything where the workflow keeps it."""
        return self.entry(**self.picked({"spec": spec, **self.files(layout, spec.settings, names)}))
