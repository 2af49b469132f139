"""Whether a model fits on a machine, by the estimates of memory."""

from dataclasses import dataclass

from outctl.config.models import ModelEntry
from outctl.machine.estimates import ASSUMED, disk_mb, gpu_memory_mb, host_memory_mb

SLOW = 1_000_000_000
"""Parameters from which on a CPU takes hours where a GPU takes minutes."""


@dataclass(frozen=True)
class Fit:
    """Where a model fits.

    Attributes:
        model: its name in the registry.
        precision: of its weights.
        gpu_mb: GPU memory that training takes, in MB.
        memory_mb: host memory that training takes, in MB.
        disk_mb: room that it takes once it is prepared, in MB.
        evaluation: where it can be evaluated: `GPU`, `CPU`, `CPU, slowly` or `no`.
        training: where adapters can be trained for it.
    """

    model: str
    precision: str
    gpu_mb: int
    memory_mb: int
    disk_mb: int
    evaluation: str
    training: str


def fit(model: str, entry: ModelEntry, memory_mb: int, gpu_mb: int | None) -> Fit:
    """Where a model fits.

    Args:
        model: its name.
        entry: its entry in the registry.
        memory_mb: host memory that a job can have, in MB.
        gpu_mb: memory of the GPU that a job computes on, in MB; None without a GPU.
    """

    def place(training: bool) -> str:
        if host_memory_mb(entry, 1, training) > memory_mb:
            return "no"
        if gpu_mb is not None:
            return "GPU" if gpu_memory_mb(entry, 1, training) <= gpu_mb else "no"
        return "CPU" if (entry.parameters or ASSUMED) < SLOW else "CPU, slowly"

    return Fit(
        model=model,
        precision=entry.precision,
        gpu_mb=gpu_memory_mb(entry, 1, training=True),
        memory_mb=host_memory_mb(entry, 1, training=True),
        disk_mb=disk_mb(entry),
        evaluation=place(training=False),
        training=place(training=True),
    )
