import pytest

from outctl.config.models import ModelEntry
from outctl.machine.estimates import gpu_memory_mb, host_memory_mb
from outctl.machine.fits import fit
from outctl.models.sources.local import LocalSource


def entry(parameters, precision="auto"):
    return ModelEntry(
        source=LocalSource(kind="local", path="/model.gguf"), chat=True, parameters=parameters, precision=precision
    )


def test_memory_decides_to_the_megabyte():
    small = entry(135_000_000)
    evaluation, training = host_memory_mb(small, 1, False), host_memory_mb(small, 1, True)
    assert evaluation < training
    places = {memory: fit("a", small, memory, None) for memory in (evaluation - 1, evaluation, training - 1, training)}
    assert [(found.evaluation, found.training) for found in places.values()] == [
        ("no", "no"),
        ("CPU", "no"),
        ("CPU", "no"),
        ("CPU", "CPU"),
    ]


@pytest.mark.parametrize("precision", ["bfloat16", "nf4"])
def test_with_a_gpu_its_memory_decides_too(precision):
    large = entry(8_000_000_000, precision)
    needed = gpu_memory_mb(large, 1, True)
    assert fit("a", large, 10**6, needed).training == "GPU"
    found = fit("a", large, 10**6, needed - 1)
    assert (found.evaluation, found.training) == ("GPU", "no")
    assert fit("a", large, 1000, 10**6).evaluation == "no"


def test_large_models_are_slow_on_a_cpu():
    assert fit("a", entry(8_000_000_000), 10**6, None).training == "CPU, slowly"


def test_four_bits_take_less_of_a_gpu_and_more_of_the_disk():
    whole, quantised = (fit("a", entry(8_000_000_000, precision), 10**6, None) for precision in ("bfloat16", "nf4"))
    assert quantised.gpu_mb < whole.gpu_mb / 1.5
    assert (whole.disk_mb, quantised.disk_mb) == (16_000, 22_000)
