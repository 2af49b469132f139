"""Snapshots of quantised weights: made when a model is first loaded in 4 bits, and read from then on.

Quantising takes longer than all else that a job does before it computes. A snapshot lies beside the prepared models, under
the weights it was made of and the versions it was made with, so that a change of either leaves it unused; it holds the very
numbers that quantising gives.
"""

import hashlib
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from outctl.errors import OutctlError
from outctl.storage.files import read_json, whole_directory, write_json
from outctl.storage.locks import BusyError, only_writer

FOLDER = ".nf4"
"""No model can be called that."""
SIZES = "sizes.json"


def snapshot_of(directory: Path, weights_hash: str, dtype: torch.dtype) -> Path:
    """Where the snapshot of a prepared model lies.

    Args:
        directory: the prepared model.
        weights_hash: hash of its weights.
        dtype: the type that it computes in.
    """
    versions = [metadata.version(package) for package in ("bitsandbytes", "transformers")]
    # GPUs and CPUs round differently where a value lies between two of the sixteen.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    key = hashlib.sha256(repr([weights_hash, str(dtype), device, *versions]).encode()).hexdigest()
    return directory.parent / FOLDER / directory.name / f"{device}-{key[:16]}"


def is_whole(snapshot: Path) -> bool:
    """Whether a snapshot is there with all that was written."""
    try:
        sizes = read_json(snapshot / SIZES)
        return all((snapshot / name).stat().st_size == size for name, size in sizes.items())
    except (OutctlError, OSError, AttributeError):
        return False


def keep(model: Any, snapshot: Path) -> None:
    """Write a quantised model's snapshot, and remove others of the same model and device.

    Where it cannot be written, because the folder is read-only, the disk full, or another job is about to, the next job
    quantises again.
    """
    try:
        with only_writer(snapshot, wait=False):
            with whole_directory(snapshot) as target:
                model.save_pretrained(target)
                write_json(target / SIZES, {file.name: file.stat().st_size for file in sorted(target.iterdir())})
            for other in snapshot.parent.glob(f"{snapshot.name.partition('-')[0]}-*"):
                if other != snapshot:
                    shutil.rmtree(other, ignore_errors=True)
    except BusyError:
        return
    except (OutctlError, OSError) as error:
        print(f"{snapshot}: not kept, so the next job quantises again: {error}")
