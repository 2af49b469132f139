"""A LoRA adapter of one model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from outctl.config.adapters import AdapterRecipe
from outctl.config.experiment import Experiment
from outctl.config.section import Section
from outctl.errors import OutctlError
from outctl.evaluation.records import Progress
from outctl.pipeline.environments import check_services
from outctl.pipeline.layout import Layout, beside
from outctl.pipeline.provenance import check_upstream, is_made, write_provenance
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Files, flat
from outctl.stages.prepared import MODEL_PACKAGES, ComputingStage, Loading, loading_of, prompt_tokens
from outctl.storage.files import copy_directory, whole_directory
from outctl.storage.locks import only_writer
from outctl.tasks.samples import Sample, read_samples

if TYPE_CHECKING:
    from outctl.finetune.tracking import Tracking


class FinetuneSettings(Section):
    """Its settings."""

    model: str
    loading: Loading
    adapter: str
    recipe: AdapterRecipe


def run(
    spec: Spec,
    model_dir: Path,
    samples: list[Path],
    output: Path,
    checkpoints: Path,
    tensorboard: Path | None = None,
    tracking: Path | None = None,
    report_to: list[str] | None = None,
    project: str = "outctl",
    progress: Progress | None = None,
) -> None:
    """Train an adapter and write it, with `training.jsonl` and its provenance, whole or not at all.

    Args:
        spec: the specification of this job.
        model_dir: the prepared model.
        samples: training samples of each case of the recipe, in the order of its names.
        output: the directory to write.
        checkpoints: where checkpoints are kept while training; a training of the same spec goes on from the last one.
        tensorboard: directory of its TensorBoard event files; without it, the training shows its curves nowhere.
        tracking: where services keep what they keep on this machine.
        report_to: services that it shows its curves, too.
        project: what they call the experiment.
        progress: called as steps are done.

    Raises:
        OutctlError: the recipe does not fit the model or the samples, or a service to report to is not installed.
    """
    from outctl.finetune.held_out import divided

    settings = spec.settings_as(FinetuneSettings)
    recipe = settings.recipe
    check_upstream(spec, f"fetch-model/{settings.model}", model_dir / "provenance.json", whole=False)
    for case, file in zip(sorted(recipe.cases), samples, strict=False):
        check_upstream(spec, f"make-samples/{case}/train", beside(file))
    to_train, held_out = divided(_chosen_samples(recipe, samples), recipe)
    folder = checkpoints / spec.hash[:16]
    shown = None
    if tensorboard and tracking:
        shown = _tracking(settings, tensorboard, tracking, report_to or [], project, spec.hash[:16])
    with only_writer(output), only_writer(folder):
        # The workflow deletes an output that was finished after the workflow itself was killed, so it is kept here too.
        finished = folder / "finished"
        if is_made(finished / "provenance.json", spec):
            print(f"{output}: finished by another start, taken from {finished}")
        else:
            _train(spec, settings, model_dir, to_train, held_out, finished, shown, progress)
        copy_directory(finished, output)


def _chosen_samples(recipe: AdapterRecipe, files: Sequence[Path]) -> list[list[Sample]]:
    """The first samples of each case's file, as many as the recipe says."""
    if len(files) != len(recipe.cases):
        raise OutctlError(f"the recipe trains on {len(recipe.cases)} cases, and {len(files)} sample files are given")
    chosen = []
    for (case, count), file in zip(sorted(recipe.cases.items()), files, strict=True):
        available = read_samples(file)
        if len(available) < count or available[0].case != case:
            raise OutctlError(f"{file}: holds {len(available)} samples of {available[0].case}, not {count} of {case}")
        chosen.append(available[:count])
    return chosen


def _tracking(
    settings: FinetuneSettings, events: Path, folder: Path, services: Sequence[str], project: str, identity: str
) -> "Tracking":
    from outctl.finetune.tracking import Tracking

    check_services(services)
    tracking = Tracking(events, tuple(services), project, folder, f"{settings.model}/{settings.adapter}")
    tracking.prepare(identity)
    return tracking


def _train(
    spec: Spec,
    settings: FinetuneSettings,
    model_dir: Path,
    to_train: list[Sample],
    held_out: list[Sample],
    finished: Path,
    tracking: "Tracking | None",
    progress: Progress | None,
) -> None:
    from outctl.finetune.training import remove_checkpoints, train, write_adapter
    from outctl.models.loading import load_model

    folder = finished.parent
    loading = settings.loading
    loaded = load_model(model_dir, loading.precision, loading.chat, options=loading, training=True)
    trainer = train(loaded, settings.recipe, to_train, held_out, folder, tracking, progress, loading.engine)
    with whole_directory(finished) as target:
        details = write_adapter(trainer, target)
        write_provenance(
            target / "provenance.json",
            spec,
            [file for file in target.iterdir() if file.is_file()],
            base_weights_hash=loaded.weights_hash,
            trained_on=len(to_train),
            **details,
            **loaded.description,
        )
    remove_checkpoints(folder)


class Finetune(ComputingStage):
    """Train a LoRA adapter whose loss compares the model's word distribution with the target."""

    name: ClassVar[str] = "finetune"
    wildcards: ClassVar[Names] = ("model", "adapter")
    packages: ClassVar[tuple[str, ...]] = (*MODEL_PACKAGES, "scipy")
    directory: ClassVar[bool] = True
    unit: ClassVar[str | None] = "steps"
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every model and adapter."""
        return ((model, adapter) for model in setup.models for adapter in setup.recipes)

    def settings(self, setup: Setup, names: Names) -> FinetuneSettings:
        """The recipe, and how the model is loaded."""
        model, adapter = names
        return FinetuneSettings(
            model=model, loading=loading_of(setup, model), adapter=adapter, recipe=setup.recipes[adapter]
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """The model, and the samples of the cases that it trains on."""
        model, adapter = names
        return [("fetch-model", model), *(("make-samples", case, "train") for case in setup.trained_on[adapter])]

    def output(self, layout: Layout, names: Names) -> Path:
        """The adapter's directory."""
        return layout.adapter(*names)

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """The adapter's files."""
        files = ("adapter_config.json", "adapter_model.safetensors", "training.jsonl", "provenance.json")
        return [self.output(setup.layout, names) / file for file in files]

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """Model, samples, and where it writes and shows what it does."""
        model, adapter = names
        return {
            "model_dir": layout.model(model),
            "samples": training_files(layout, settings["recipe"]["cases"]),
            "output": layout.adapter(model, adapter),
            "checkpoints": layout.checkpoints(),
            "tensorboard": layout.tensorboard(model, adapter),
            "tracking": layout.tracking(),
        }

    def others(self, experiment: Experiment) -> dict[str, Any]:
        """Services that it shows its curves, too, and what they call the experiment."""
        return {"report_to": list(experiment.logging.report_to), "project": experiment.logging.project}

    def tokens(self, setup: Setup, names: Names) -> int:
        """Forward and backward count three times."""
        recipe = setup.recipes[names[1]]
        length = max(prompt_tokens(setup, case) for case in recipe.cases)
        measured = (recipe.steps // recipe.measure_every + 1) * recipe.held_out_samples
        return length * (3 * recipe.steps * recipe.batch_size * recipe.gradient_accumulation_steps + measured)

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the recipe, and of the model's entry in the registry."""
        model, adapter = names
        return flat(settings["recipe"], f"adapters.{adapter}") | flat(settings["loading"], f"models.{model}")


def training_files(layout: Layout, cases: Mapping[str, int]) -> list[Path]:
    """Sample files of the cases that an adapter trains on, in the order in which a training reads them."""
    return [layout.samples(case, "train") for case in sorted(cases)]
