"""Specifications of jobs: all that a job's result depends on, as one small JSON file that the job reads instead of the config.

A spec holds the job's slice of the configuration, the fingerprint of the code it runs, the versions of the packages
that matter to it, and the hashes of the specs of the jobs whose outputs it reads. Its hash therefore changes exactly
when the result may. It is written while the workflow is read, to a file named after the hash, so that the plans of
different settings never touch each other's; it is an input of the rule, and its hash stands in the provenance of every
output.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from outctl.config.plugins import run_plugins
from outctl.config.section import Section
from outctl.errors import OutctlError
from outctl.storage.files import read_json, to_json, write_text


def _by_name(texts: dict[str, str]) -> dict[str, str]:
    """In one order, whether the specification comes from its file, which sorts names, or is made by hand."""
    return dict(sorted(texts.items()))


Texts = Annotated[dict[str, str], AfterValidator(_by_name)]
"""Texts by their names."""

Settings = TypeVar("Settings", bound=Section)


class Spec(Section):
    """One job's specification.

    `entries` are the modules of the registries' entries that its settings name, `plugins` the texts of the plug-ins that
    registered the others, by their paths. `repair` and `repaired` are no part of what a result depends on: they let it be
    made again, since its own outputs were found changed after they were written (`repair`), or those of a job upstream
    (`repaired`: the job, and its mark).
    """

    stage: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    code: str
    packages: dict[str, str]
    entries: list[str] = Field(default=[])
    plugins: dict[str, str] = Field(default={})
    repair: str = ""
    repaired: dict[str, str] = Field(default={})

    @property
    def hash(self) -> str:
        """Hash of everything that the result depends on, 64 hexadecimal digits."""
        content = self.model_dump(mode="json", exclude={"repair", "repaired"})
        return hashlib.sha256(to_json(content, indent=None).encode()).hexdigest()

    @property
    def mark(self) -> str:
        """What tells this specification from others with the same hash: its repairs, as 8 hexadecimal digits; most often none."""
        if not self.repaired:
            return self.repair
        return hashlib.sha256(to_json([self.repair, self.repaired], indent=None).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Short name of this very specification: the start of its hash, and its mark."""
        return f"{self.hash[:16]}-{self.mark}" if self.mark else self.hash[:16]

    def settings_as(self, schema: type[Settings]) -> Settings:
        """The settings, checked; what plug-ins register is there from now on."""
        run_plugins(self.plugins)
        return schema.model_validate(self.settings)

    def write(self, path: Path) -> None:
        """Write the spec, unless the file already says the same: its time then stays, and nothing looks newer."""
        text = to_json(self.model_dump(mode="json")) + "\n"
        try:
            same = path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            write_text(path, text, durable=False)


def read_spec(path: Path, stage: str) -> Spec:
    """Read a spec from its file.

    Raises:
        OutctlError: the file is missing, broken, or the spec of another stage.
    """
    try:
        spec = Spec.model_validate(read_json(path))
    except ValidationError as error:
        raise OutctlError(f"{path}: not a job's specification ({error.errors()[0]['msg']})") from None
    if spec.stage != stage:
        raise OutctlError(f"{path}: the specification of {spec.stage}, not of {stage}")
    return spec
