"""What all jobs have in common that ask a model something and write one file.

Such a job computes for seconds and loads for longer, so a model that is loaded is used: when its own work is done, a job goes
on with what other jobs of the same run are about to ask of the same model and variant. What they would write is kept where a
finished file of their own would be, and those jobs take it over without loading anything.
"""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outctl.errors import OutctlError, first_line
from outctl.evaluation.records import Progress
from outctl.pipeline.checkpoints import Stop, end_well
from outctl.pipeline.layout import beside
from outctl.pipeline.provenance import check_upstream, is_made, write_provenance
from outctl.pipeline.specs import Loading, ModelSettings, Spec
from outctl.storage.files import copy_file
from outctl.storage.locks import BusyError, only_writer

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel

AHEAD = 150.0
"""Seconds since the loading began in which a job may turn to another one's work. One that a time limit ends in the midst of it
comes back, and takes over what it had finished of its own."""


@dataclass(frozen=True)
class ModelJob(ABC):
    """What such a job reads and writes; each kind adds what else it reads, and how it measures.

    Attributes:
        spec: its specification.
        model_dir: the prepared model.
        adapter: the adapter to ask with; None without one.
        output: the file to write.
        checkpoints: where what is done of it is kept until the workflow knows of the finished file.
    """

    spec: Spec
    model_dir: Path
    adapter: Path | None
    output: Path
    checkpoints: Path

    @property
    @abstractmethod
    def settings(self) -> ModelSettings:
        """The settings of its specification."""

    @property
    def asks_two_models(self) -> bool:
        """Whether it loads another model beside its own: nobody who has loaded that one asked for the memory."""
        return False

    @abstractmethod
    def measure(self, loaded: "LoadedModel", progress: Progress | None, stop: Stop) -> None:
        """Ask the model, and write `finished`.

        Args:
            loaded: the model, with the adapter, ready for token trees.
            progress: called as samples are done.
            stop: whether the process was asked to stop; what keeps parts listens for it.

        Raises:
            OutctlError: the model cannot be asked this, or the job was asked to stop.
        """

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
        if self.adapter is not None:
            trained = f"finetune/{self.settings.model}/{self.settings.variant}"
            check_upstream(self.spec, trained, self.adapter / "provenance.json")

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
                loaded = _load_ready(self.model_dir, self.settings.loading, self.adapter)
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
        self.measure(loaded, progress, stop)
        details = {"base_weights_hash": loaded.weights_hash, **loaded.description}
        write_provenance(beside(self.finished), self.spec, [self.finished], **details)


def _load_ready(model_dir: Path, loading: Loading, adapter: Path | None) -> "LoadedModel":
    """Load a model, with or without an adapter, that is ready for token trees."""
    # Here, so that a job whose output is there already need not wait for the import of torch.
    from outctl.inference.tree_forward import enable_trees
    from outctl.models.loading import load_model

    loaded = load_model(model_dir, loading.precision, loading.chat, adapter)
    enable_trees(loaded.model)
    return loaded
