"""What torch and bitsandbytes can do here, as JSON: a program of its own, since a broken library may end its process."""

import json
from collections.abc import Callable
from typing import Any

from outctl.errors import first_line


def tried(action: Callable[[], Any]) -> dict[str, Any]:
    """What an action gives, as `found`, or what went wrong, as `error`."""
    try:
        return {"found": action()}
    # Libraries fail to load with errors of any type.
    except Exception as error:
        return {"error": f"{type(error).__name__}: {first_line(error)}"}


def gpus() -> list[dict[str, Any]]:
    """Name, memory in MB and whether it computes in bfloat16, of each GPU that torch sees."""
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append({"name": properties.name, "memory_mb": properties.total_memory // 10**6, "bfloat16": bfloat16})
    return found


def dtype() -> str:
    """The type that models compute in where the registry leaves it open."""
    from outctl.models.loading import compute_dtype

    return str(compute_dtype()).removeprefix("torch.")


def quantised() -> str:
    """Quantise a tiny layer to NF4 and compute with it, as models are; gives the device.

    Raises:
        RuntimeError: what comes out is not near to what the layer gives unquantised.
    """
    import bitsandbytes as bnb
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 64, bias=False)
    layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compress_statistics=True)
    layer.load_state_dict(plain.state_dict())
    given = torch.randn(4, 64)
    with torch.no_grad():
        wanted = plain(given)
        got = layer.to(device)(given.to(device)).float().cpu()
    if not (got - wanted).norm() < 0.3 * wanted.norm():
        raise RuntimeError("a layer in 4 bits gives something else than the same layer in 32")
    return device


if __name__ == "__main__":
    import torch

    probed = {"gpus": tried(gpus), "nf4": tried(quantised), "dtype": tried(dtype)}
    print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, **probed}))
