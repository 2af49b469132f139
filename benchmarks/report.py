"""What every benchmark leaves behind: its figures as JSON, with the machine, and its table in `benchmarks/README.md`."""

import json
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def machine() -> dict[str, Any]:
    """The machine and what runs on it: processor, cores, GPU, versions, and the command that is running."""
    import torch

    script = Path(sys.argv[0]).name
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        # What this process may use is what counts where cores are shared out.
        "cores_used": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
        "command": f"python benchmarks/{script} {shlex.join(sys.argv[1:])}".strip(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def publish(name: str, result: dict[str, Any], table: str) -> None:
    """Write `results/NAME.json`, and the table between the markers of this benchmark in `README.md`.

    Args:
        name: the benchmark.
        result: its figures; the machine is added unless they bring the one that they were measured on.
        table: the same in Markdown.
    """
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{readme}: has no markers {begin} and {end}")
    result = result if "machine" in result else {"machine": machine(), **result}
    file = HERE / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    where = result["machine"]
    processor = where["gpu"] or f"{where['cpu']}, cores: {where['cores_used']}"
    line = f"{processor}; torch {where['torch']}, transformers {where['transformers']}; `{where['command']}`"
    readme.write_text(f"{before}{begin}\n{line}\n\n{table.strip()}\n{end}{after}", encoding="utf-8")
