"""What a model will need, estimated from its entry in the registry before anything is fetched."""

from contextlib import suppress
from pathlib import Path

from outctl.config.models import FLOAT32_PARAMETERS, ModelEntry, Precision
from outctl.config.running import Resources
from outctl.errors import OutctlError
from outctl.storage.files import read_json

BYTES_PER_PARAMETER: dict[Precision, float] = {
    "auto": 2.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "float32": 4.0,
    # 4 bits, the double-quantised scales, and the embeddings, which stay in 16 bits.
    "nf4": 0.75,
}
ASSUMED = 8_000_000_000
"""Parameters of a model whose entry does not say them, until it is fetched or its weights can be looked at."""
PROGRAM_MB = 2500
"""Host memory of a process that has imported torch and transformers."""

CUDA_MB = 1500
"""GPU memory of a CUDA context with its libraries."""


def sized(entry: ModelEntry, provenance: Path) -> ModelEntry:
    """A model's entry with its number of parameters: its own, that of the fetched model, or that of weights on this machine.

    Args:
        entry: the entry; it stays as it is where the number cannot be known yet.
        provenance: the provenance file of the model once it is fetched.
    """
    found = entry.parameters
    if found is None and provenance.is_file():
        with suppress(OutctlError, AttributeError):
            found = read_json(provenance).get("parameters")
    found = found or entry.source.parameters()
    return entry.model_copy(update={"parameters": found})


def _parameters(entry: ModelEntry) -> int:
    return entry.parameters or ASSUMED


def _bytes_per_parameter(entry: ModelEntry) -> float:
    """What one weight takes; of `auto` the larger of the types that a training and an evaluation choose."""
    small = entry.precision == "auto" and _parameters(entry) <= FLOAT32_PARAMETERS
    return BYTES_PER_PARAMETER["float32" if small else entry.precision]


def weights_mb(entry: ModelEntry) -> int:
    """Memory of the weights alone, in MB."""
    return round(_parameters(entry) * _bytes_per_parameter(entry) / 1e6)


def disk_mb(entry: ModelEntry) -> int:
    """Room that a prepared model takes, in MB: converted weights in 16 bits, and a snapshot where it is in 4 bits.

    Weights that are used as they are get linked, and take none.
    """
    converted = 2.0 if entry.source.converted else 0.0
    snapshot = BYTES_PER_PARAMETER["nf4"] if entry.precision == "nf4" else 0.0
    return round(_parameters(entry) * (converted + snapshot) / 1e6)


def host_memory_mb(entry: ModelEntry, attempt: int, training: bool) -> int:
    """Host memory of a job, in MB; half as much again with each further attempt.

    The weights pass through host memory in 16 bits whatever they become; on a CPU activations come on top.
    """
    stored = _parameters(entry) * max(2.0, _bytes_per_parameter(entry)) / 1e6
    factor = 2.0 if training else 1.4
    return round((PROGRAM_MB + factor * stored) * (1 + 0.5 * (attempt - 1)))


def gpu_memory_mb(entry: ModelEntry, attempt: int, training: bool) -> int:
    """GPU memory of a job, in MB; half as much again with each further attempt.

    The weights in their precision, a CUDA context, and what a pass over a batch holds: with gradients, the activations
    of every layer.
    """
    passing = _parameters(entry) * (0.8 if training else 0.3) / 1e6
    return round((CUDA_MB + weights_mb(entry) + passing) * (1 + 0.5 * (attempt - 1)))


def runtime_minutes(entry: ModelEntry, attempt: int, tokens: int, resources: Resources) -> int:
    """Run time of a job, in minutes; twice as much with each further attempt, and never more than `max_runtime`.

    Two GFLOP a billion parameters and token, on a GPU at 50 TFLOP/s or on CPUs at 0.1; five minutes for imports and
    loading. A training that needs longer than the limit goes on from its checkpoint in the next attempt.
    """
    operations = 2.0 * _parameters(entry) * tokens
    minutes = 5 + operations / ((50e12 if resources.gpu else 0.1e12) * 60)
    wanted = round(minutes * 2.0 ** (attempt - 1)) + 1
    return wanted if resources.max_runtime is None else min(wanted, resources.max_runtime)
