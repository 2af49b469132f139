"""What all jobs have in common that ask a model something and write one file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outctl.config import TEMPERATURE
from outctl.files import copy_file
from outctl.layout import beside
from outctl.locks import only_writer
from outctl.provenance import check_upstream, is_made, write_provenance
from outctl.specs import Loading, Spec

if TYPE_CHECKING:
    from outctl.models.loading import LoadedModel


@dataclass(frozen=True)
class ModelJob:
    """What such a job reads and writes.

    Attributes:
        spec: its specification.
        model_dir: the prepared model.
        adapter: the adapter to ask with; None for the baseline.
        output: the file to write.
        checkpoints: where the finished file is kept until the workflow knows of it.
    """

    spec: Spec
    model_dir: Path
    adapter: Path | None
    output: Path
    checkpoints: Path

    def run(
        self,
        model: str,
        variant: str,
        loading: Loading,
        upstream: Sequence[tuple[str, Path]],
        measure: Callable[["LoadedModel", Path], Any],
    ) -> None:
        """Load the model, measure, and write the output with its provenance beside it, whole or not at all.

        Args:
            model: name of the model.
            variant: `baseline`, or the adapter.
            loading: how the model is loaded.
            upstream: what else the job reads: the job that made it, as its specification names it, and its provenance.
            measure: is given the loaded model and where to write what it measures.

        Raises:
            OutctlError: something that it reads was not made by the job that the specification names.
        """
        check_upstream(self.spec, f"fetch-model/{model}", self.model_dir / "provenance.json", whole=False)
        if self.adapter is not None and variant != TEMPERATURE:
            check_upstream(self.spec, f"finetune/{model}/{variant}", self.adapter / "provenance.json")
        for job, provenance in upstream:
            check_upstream(self.spec, job, provenance)
        folder = self.checkpoints / self.spec.hash[:16]
        finished = folder / "finished" / self.output.name
        with only_writer(self.output), only_writer(folder):
            # The workflow deletes an output that was finished after the workflow itself was killed, so it is kept here too.
            if is_made(beside(finished), self.spec):
                print(f"{self.output}: finished by another start, taken from {finished}")
            else:
                loaded = load_ready(self.model_dir, loading, self.adapter)
                measure(loaded, finished)
                details = {"base_weights_hash": loaded.weights_hash, **loaded.description}
                write_provenance(beside(finished), self.spec, [finished], **details)
            copy_file(finished, self.output)
            copy_file(beside(finished), beside(self.output))


def load_ready(model_dir: Path, loading: Loading, adapter: Path | None) -> "LoadedModel":
    """Load a model, with or without an adapter, that is ready for token trees."""
    # Here, so that a job whose output is there already need not wait for the import of torch.
    from outctl.inference.tree_forward import enable_trees
    from outctl.models.loading import load_model

    loaded = load_model(model_dir, loading.precision, loading.chat, adapter)
    enable_trees(loaded.model)
    return loaded
