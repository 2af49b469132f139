"""An adapter of one model that was trained elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from outctl.config.adapters import AdapterSource
from outctl.config.section import Section
from outctl.pipeline.layout import Layout
from outctl.pipeline.provenance import check_upstream, is_made, write_provenance
from outctl.pipeline.setup import Job, Names, Setup
from outctl.pipeline.specs import Spec
from outctl.pipeline.stage import Files, Stage, flat
from outctl.storage.files import copy_file, whole_directory
from outctl.storage.locks import only_writer


class FetchAdapterSettings(Section):
    """Its settings; `contents` stands for what a local directory holds, which its path does not tell."""

    model: str
    adapter: str
    source: AdapterSource
    contents: str | None = None
    force: bool


def run(spec: Spec, model_dir: Path, output: Path) -> None:
    """Fetch an adapter, make sure that it is for the model, and write its directory with its provenance, whole or not at all.

    Args:
        spec: the specification of this job.
        model_dir: the prepared model.
        output: the directory to write.

    Raises:
        OutctlError: the adapter is out of reach or incomplete, or names another model as its base.
    """
    from outctl.models.adapter_base import base_of, check_base
    from outctl.models.adapter_sources import FILES, TOKENIZER, directory_of
    from outctl.storage.outputs import read_provenance

    settings = spec.settings_as(FetchAdapterSettings)
    check_upstream(spec, f"fetch-model/{settings.model}", model_dir / "provenance.json", whole=False)
    base = base_of(read_provenance(model_dir / "provenance.json"), model_dir)
    with only_writer(output):
        if is_made(output / "provenance.json", spec):
            print(f"{output}: fetched by another start")
            return
        original = directory_of(settings.source, settings.adapter)
        check_base(original, base, settings.force)
        with whole_directory(output) as target:
            for name in (*FILES, *TOKENIZER):
                if (original / name).is_file():
                    copy_file(original / name, target / name)
            write_provenance(
                target / "provenance.json",
                spec,
                [file for file in target.iterdir() if file.is_file()],
                # From here on this says that the two belong together, whatever the adapter's own configuration names.
                base_weights_hash=base.weights_hash,
                source=settings.source.model_dump(mode="json"),
            )


class FetchAdapter(Stage):
    """Fetch an adapter that was trained elsewhere, and make sure that it is for the model."""

    name: ClassVar[str] = "fetch-adapter"
    wildcards: ClassVar[Names] = ("model", "adapter")
    guarded: ClassVar[bool] = True
    directory: ClassVar[bool] = True
    entry = staticmethod(run)

    def jobs(self, setup: Setup) -> Iterator[Names]:
        """Every adapter that has a source, for each of its models."""
        models = setup.models_of
        return ((model, adapter) for model in setup.models for adapter in setup.existing if model in models[adapter])

    def settings(self, setup: Setup, names: Names) -> FetchAdapterSettings:
        """Where it comes from."""
        model, adapter = names
        existing = setup.existing[adapter]
        return FetchAdapterSettings(
            model=model,
            adapter=adapter,
            source=existing.source,
            contents=setup.adapter_contents(adapter),
            force=existing.force,
        )

    def upstream(self, setup: Setup, names: Names) -> list[Job]:
        """The model, which the adapter must be for."""
        return [("fetch-model", names[0])]

    def output(self, layout: Layout, names: Names) -> Path:
        """The adapter's directory."""
        return layout.adapter(*names)

    def outputs(self, setup: Setup, names: Names) -> list[Path]:
        """The adapter's files; some have a tokenizer, too."""
        files = ("adapter_config.json", "adapter_model.safetensors", "provenance.json")
        return [self.output(setup.layout, names) / file for file in files]

    def files(self, layout: Layout, settings: Mapping[str, Any], names: Names) -> Files:
        """The model, and where it writes."""
        return {"model_dir": layout.model(names[0]), "output": self.output(layout, names)}

    def choices(self, setup: Setup) -> Mapping[str, list[str]]:
        """The adapters that have a source."""
        return {**super().choices(setup), "adapter": list(setup.existing)}

    def keys(self, settings: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """Those of the adapter."""
        key = f"adapters.{names[1]}"
        return {**flat(settings["source"], f"{key}.source"), f"{key}.force": settings["force"]}

    def changes(self, before: Mapping[str, Any], now: Mapping[str, Any], names: Names) -> list[str]:
        """Also what a local directory holds, where its path is the same."""
        lines = super().changes(before, now, names)
        if not lines and before.get("contents") != now.get("contents"):
            lines = [f"{now['source']['path']} holds other files than it did"]
        return lines
