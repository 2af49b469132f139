"""What the workflow asks of machines, and where trainings show their curves: no result depends on it."""

from typing import Literal

from pydantic import Field

from outctl.config.section import Section

Service = Literal["mlflow", "trackio", "wandb"]


class Resources(Section):
    """What the workflow asks of a cluster, or of this machine."""

    gpu: int = Field(default=1, ge=0, le=1)
    """Whether a job that computes with a model asks for a GPU (1) or is planned for CPUs (0)."""
    threads: int = Field(default=8, ge=1, le=10_000)
    """CPU threads of such a job; fewer are taken where there are fewer."""
    max_runtime: int | None = Field(default=None, ge=1)
    """Longest run time that a job may ask for, in minutes: the time limit of a cluster's partition. A training that needs
    longer goes on from its checkpoint in the next attempt."""


class Logging(Section):
    """Where trainings show their curves, beside TensorBoard event files; no result depends on it."""

    report_to: list[Service] = Field(default=[])
    """Services, each of which must be installed: `mlflow`, `trackio`, `wandb` (Weights & Biases). They keep what they are told
    below `results_dir` and use no network, unless their own environment variables say otherwise."""
    project: str = Field(default="outctl", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """What the services call the experiment."""
