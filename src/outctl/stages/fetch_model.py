"""A prepared model."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from outctl.config.registries import Source
from outctl.config.section import Section
from outctl.pipeline.layout import Layout
from outctl.pipeline.provenance import is_made, write_provenance
from outctl.pipeline.setup import Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Stage, flat
from outctl.storage.files import whole_directory
from outctl.storage.locks import only_writer


class FetchSettings(Section):
    """Its settings; `contents` stands for what a local directory holds, which its path does not tell."""

    source: Source
    contents: str | None = None


def run(spec: Spec, model: str, output: Path, check: Callable[[Path], object] = lambda directory: None) -> None:
    """Fetch a model and write its prepared directory, whole or not at all, with every file's checksum in its provenance.

    Args:
        spec: the specification of this job.
        model: the model's name in the registry.
        output: the directory to write.
        check: called with the directory before anybody sees it, to refuse what cannot be used.

    Raises:
        OutctlError: the model is out of reach, or cannot be used (see `outctl.models.preparation.prepare`).
    """
    from outctl.models.preparation import prepare

    source = spec.settings_as(FetchSettings).source
    with only_writer(output):
        if is_made(output / "provenance.json", spec):
            check(output)
            print(f"{output}: prepared by another start")
            return
        with whole_directory(output) as target:
            prepared = prepare(source, model, target)
            check(target)
            write_provenance(
                target / "provenance.json",
                spec,
                [file for file in target.iterdir() if file.is_file()],
                model=model,
                weights_hash=prepared.weights_hash,
                parameters=prepared.parameters,
                quantisation=prepared.quantisation,
                source=source.model_dump(mode="json"),
            )


class FetchModel(Stage):
    """Fetch a model and prepare it: safetensors, tokenizer, chat template. This step uses the network."""

    name: ClassVar[str] = "fetch-model"
    wildcards: ClassVar[Names] = ("model",)
    packages: ClassVar[tuple[str, ...]] = ("gguf", "safetensors", "tokenizers", "torch", "transformers")
    shared: ClassVar[bool] = True
    guarded: ClassVar[bool] = True
    directory: ClassVar[bool] = True
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> list[Names]:
        """Every model whose weights are needed."""
        return [(model,) for model in setup.fetched]

    def settings(self, setup: Setup, names: Names) -> FetchSettings:
        """Where the model comes from."""
        (model,) = names
        return FetchSettings(source=setup.registry.models[model].source, contents=setup.contents(model))

    def unused_packages(self, setup: Setup, names: Names) -> Collection[str]:
        """Safetensors are linked, and opened to see that they can be."""
        (model,) = names
        return () if setup.registry.models[model].source.converted else ("gguf", "safetensors", "torch")

    def output(self, layout: Layout, names: Names) -> Path:
        """The model's directory."""
        return layout.model(*names)

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """The provenance alone: what else the directory holds depends on the model."""
        return [self.provenance(setup.layout, names)]

    def start(self, arguments: Mapping[str, Any], progress: Any = None, ahead: Iterable[Any] = ()) -> None:
        """Fetch it, and see that its chat template takes the questions, where a plan says how it is asked."""
        from outctl.stages.model_check import Notes, fetched_notes

        plan, model, output = arguments["plan"](), arguments["model"], arguments["output"]
        if plan is None or model not in plan.registry.models:
            super().start(arguments, progress)
            return
        super().start({**arguments, "check": partial(Notes(plan).check, model)}, progress)
        if output == plan.layout.model(model):
            for line in fetched_notes(plan, model):
                print(line, file=sys.stderr)

    def choices(self, setup: Setup) -> Mapping[str, list[str]]:
        """Every model of the registry."""
        return {"model": list(setup.registry.models)}

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the source in the registry."""
        (model,) = names
        return flat(settings["source"], f"models.{model}.source")

    def changes(self, before: Mapping[str, Any], now: Mapping[str, Any], names: Names) -> list[str]:
        """Also what a local directory holds, where its path is the same."""
        lines = super().changes(before, now, names)
        if not lines and before.get("contents") != now.get("contents"):
            lines = [f"{now['source']['path']} holds other files than it did"]
        return lines
