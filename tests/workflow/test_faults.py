"""Whatever happens to a run of the workflow, a few starts later the results are those of a run to which nothing happened."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from faults import FAULTS, QUICK, Fault
from scene import Reference, Scene
from workspace import Workspace

BEGIN, END = "<!-- faults: made by `make faults` -->", "<!-- end of faults -->"
HEAD = ("", "fault", "struck after, while", "typed then", "starts", "results")

TRIES = [(fault, number) for fault in FAULTS for number in range(fault.times)]
PARAMETERS = [
    pytest.param(
        fault,
        number,
        id=f"{fault.name} {number + 1}",
        marks=[] if (fault.name, number) in QUICK else [pytest.mark.many_faults],
    )
    for fault, number in TRIES
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Callable[..., Path]) -> Reference:
    """An undisturbed run of an experiment on a tiny model, whose jobs have several checkpoints each."""
    folder = tmp_path_factory.mktemp("undisturbed")
    source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
    registry = {"models": {"tiny": {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"}}}
    recipe = {"cases": {"given": 48}, "steps": 200, "batch_size": 4, "held_out_samples": 2, "dropout": 0.1}
    config = {
        "models": ["tiny"],
        "registry": "models.yaml",
        "models_dir": "models",
        "cases": {"given": {"kind": "given_words", "train_samples": 48, "eval_samples": 120}},
        "adapters": {"tuned": recipe | {"log_every": 5, "checkpoint_every": 20, "measure_every": 50}},
        "evaluation": {"checkpoint_every": 10},
        "resources": {"gpu": 0, "threads": 1},
    }
    prepared = Workspace(folder / "prepared", config)
    prepared.folder.mkdir()
    (prepared.folder / "models.yaml").write_text(yaml.safe_dump(registry))
    samples = [f"results/samples/given/{split}.provenance.json" for split in ("train", "eval")]
    run = prepared.snakemake("models/tiny/provenance.json", *samples)
    assert run.code == 0, run.output
    finished = Workspace(folder / "finished", config)
    shutil.copytree(prepared.folder, finished.folder)
    began = time.monotonic()
    run = finished.snakemake()
    assert run.code == 0, run.output
    return Reference(prepared, finished, time.monotonic() - began)


Row = tuple[str, ...]


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    """A row for each fault; printed in the end, and written where OUTCTL_FAULT_TABLE says."""
    rows: list[Row] = []
    yield rows
    lines = [" | ".join(row).join(("| ", " |")) for row in (HEAD, ("---",) * len(HEAD), *rows)]
    print("", *lines, sep="\n")
    if target := os.environ.get("OUTCTL_FAULT_TABLE"):
        document = Path(target)
        before, _, rest = document.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 24 MB in memory at a folder."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    result = subprocess.run(mount, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(("fault", "number"), PARAMETERS)
def test_a_fault_changes_no_result(
    fault: Fault, number: int, reference: Reference, table: list[Row], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "disturbed", reference.prepared.config)
    scene = Scene(workspace, reference, random.Random(f"{fault.name} {number}"))
    verdict = "**differ**"
    with small_disk(workspace.results):
        scene.prepare()
        try:
            fault.strike(scene)
            scene.to_the_end()
            scene.check()
            verdict = "identical"
        finally:
            typed = ", ".join(scene.typed) or "nothing"
            table.append((str(len(table) + 1), fault.name, scene.moment, typed, str(scene.starts), verdict))
