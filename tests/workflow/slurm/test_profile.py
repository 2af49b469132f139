"""The profile: everything in it that is commented out, and jobs on a cluster that takes GPUs by gres only."""

import dataclasses
import inspect
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin
import yaml
from slurm.availability import started
from slurm.configuration import Options
from slurm.submission import Submission
from snakemake.cli import get_argument_parser
from snakemake_executor_plugin_slurm import submit_string, utils
from workspace import ROOT, Workspace

pytestmark = pytest.mark.slow

PROFILE = (ROOT / "slurm" / "config.v9+.yaml").read_text()


def with_options(text: str) -> str:
    """A profile in which options that are commented out are not: lines with a # and no single blank behind it."""
    return re.sub(r"^( *)#(?=\S|  )", r"\1", text, flags=re.MULTILINE)


def variants() -> list[dict[str, Any]]:
    """The profile with all options, once with each of the alternatives of a key that stands there twice."""
    first, *others = with_options(PROFILE).split("\nset-resources:\n")
    blocks = [other.partition("\n\n") for other in others]
    rest = first + "".join(rest for _, _, rest in blocks)
    return [yaml.safe_load(f"{rest}\nset-resources:\n{block}\n") for block, _, _ in blocks]


def test_snakemake_and_its_plugin_know_every_name_in_the_profile() -> None:
    options = {option.lstrip("-") for action in get_argument_parser()._actions for option in action.option_strings}
    settings = {f"slurm-{field.name.replace('_', '-')}" for field in dataclasses.fields(plugin.ExecutorSettings)}
    read = "".join(inspect.getsource(module) for module in (plugin, submit_string, utils))
    assert len(variants()) == 2
    for profile in variants():
        assert set(profile) <= options | settings
        resources = [profile["default-resources"], *profile["set-resources"].values()]
        for name in itertools.chain(*resources):
            assert f'resources.get("{name}"' in read or f"resources.{name}" in read


def test_a_cluster_that_refuses_the_gpus_flag_is_asked_by_gres(undisturbed: Submission, tmp_path: Path) -> None:
    undisturbed.finish()
    record = Path("evaluations/tiny/baseline/given.jsonl")
    workspace = Workspace(tmp_path.resolve() / "gres", undisturbed.workspace.config)
    shutil.copytree(undisturbed.workspace.folder, workspace.folder)
    (by_gres,) = (profile["set-resources"] for profile in variants() if "gres" in profile["set-resources"]["evaluate"])
    with (
        started(Options(gpus_flag=False)) as cluster,
        Submission(
            cluster,
            workspace,
            "--forcerun=evaluate",
            f"results/{record}",
            profile={"set-resources": by_gres},
        ) as submission,
    ):
        submission.finish()
        (job,) = submission.jobs()
        assert job.gpus == "gpu:h200:1"
        provenance = json.loads((workspace.results / record).with_suffix(".provenance.json").read_text())
        assert provenance["environment"]["scheduler"]["job_id"] == job.id
        assert provenance["environment"]["scheduler"]["gpus"] == "0"
        assert (workspace.results / record).read_bytes() == (undisturbed.workspace.results / record).read_bytes()
