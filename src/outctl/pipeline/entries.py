"""What a job runs of the registries: the entries that its settings name, in the package and in plug-ins."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from outctl.config.plugins import packages_used, plugin_text
from outctl.config.registry import entries_of
from outctl.pipeline.fingerprint import code_of, fingerprint
from outctl.pipeline.specs import STAGES, Spec


def used_by(settings: BaseModel) -> tuple[list[str], dict[str, str]]:
    """Modules of the package's entries that settings name, and the texts of the plug-ins that registered the others."""
    modules, paths = set(), set()
    for registry, name in entries_of(settings):
        if path := registry.plugin_of(name):
            paths.add(path)
        else:
            modules.add(registry.module_of(name))
    return sorted(modules), {path: plugin_text(path) for path in sorted(paths)}


def packages_beside(
    plugins: Mapping[str, str], packages: Sequence[str], versions: Mapping[str, str] | None
) -> list[str]:
    """Packages that plug-ins use beside those of a stage.

    Args:
        plugins: the plug-ins' texts.
        packages: those of the stage.
        versions: versions of the jobs' environment, where it is another; what it does not pin is left out.
    """
    return [name for name in packages_used(plugins) if name not in packages and (versions is None or name in versions)]


def code_fingerprint(stage: str, entries: Sequence[str], plugins: Mapping[str, str]) -> str:
    """Hash of all code that a job runs."""
    return fingerprint(STAGES[stage], *entries, plugins=tuple(sorted(plugins.items())))


def code_of_job(spec: Spec) -> dict[str, str]:
    """What `code_of` says of the code that a job runs."""
    return code_of(STAGES[spec.stage], *spec.entries, plugins=tuple(sorted(spec.plugins.items())))
