"""What a job runs of the registries: the entries that its settings name, in the package and in plug-ins."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from outctl.config.plugins import packages_used, plugin_text
from outctl.config.registry import entries_of


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
