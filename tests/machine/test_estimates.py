from outctl.config.models import ModelEntry
from outctl.config.running import Resources
from outctl.machine.estimates import gpu_memory_mb, host_memory_mb, runtime_minutes, weights_mb


def entry(parameters: int, precision: str = "bfloat16") -> ModelEntry:
    source = {"kind": "local", "path": "weights"}
    return ModelEntry.model_validate({"source": source, "chat": True, "parameters": parameters, "precision": precision})


def test_weights_take_the_bytes_of_their_type() -> None:
    assert weights_mb(entry(8_000_000_000)) == 16_000
    assert weights_mb(entry(8_000_000_000, "float32")) == 32_000
    assert 4_000 < weights_mb(entry(8_000_000_000, "nf4")) < 8_000


def test_small_models_of_no_said_type_may_be_evaluated_in_float32() -> None:
    assert weights_mb(entry(135_000_000, "auto")) == weights_mb(entry(135_000_000, "float32"))
    assert weights_mb(entry(8_000_000_000, "auto")) == weights_mb(entry(8_000_000_000))


ON_GPU = Resources(gpu=1)
ON_CPU = Resources(gpu=0)


def test_a_further_attempt_gets_more_memory_and_time() -> None:
    model = entry(8_000_000_000)
    for estimate in (host_memory_mb, gpu_memory_mb):
        memory = [estimate(model, attempt, training=True) for attempt in (1, 2, 3)]
        assert memory == sorted(set(memory))
    assert [runtime_minutes(model, attempt, 3_000_000, ON_GPU) for attempt in (1, 2)] == [22, 43]


def test_no_attempt_asks_for_more_time_than_the_limit() -> None:
    limited = Resources(gpu=1, max_runtime=30)
    times = [runtime_minutes(entry(8_000_000_000), attempt, 3_000_000, limited) for attempt in (1, 2, 3)]
    assert times == [22, 30, 30]


def test_more_parameters_and_tokens_take_longer() -> None:
    small, large = entry(1_000_000_000), entry(8_000_000_000)
    assert runtime_minutes(small, 1, 5_000_000, ON_GPU) < runtime_minutes(large, 1, 5_000_000, ON_GPU)
    assert runtime_minutes(large, 1, 5_000_000, ON_GPU) < runtime_minutes(large, 1, 10_000_000, ON_GPU)
    assert runtime_minutes(small, 1, 100_000, ON_GPU) < runtime_minutes(small, 1, 100_000, ON_CPU)


def test_a_gpu_holds_fewer_bytes_in_4_bits_and_more_in_training() -> None:
    whole, quantised = entry(8_000_000_000), entry(8_000_000_000, "nf4")
    assert gpu_memory_mb(quantised, 1, False) < 12_000 < 16_000 < gpu_memory_mb(whole, 1, False)
    assert gpu_memory_mb(quantised, 1, True) > gpu_memory_mb(quantised, 1, False)
