"""What every benchmark leaves behind: its figures as JSON, with the machine, and its table in `benchmarks/README.md`."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "snakemake", "lm-eval", "trl", "llama-cpp-python")
"""Whose versions stand beside the figures."""
CPU_TYPES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""What the processor may compute in."""


def machine() -> dict[str, Any]:
    """The machine and what runs on it: processor, cores, GPU, versions, and the command that is running."""
    import torch

    script = Path(sys.argv[0]).name
    return {
        "cpu": _processor("model name") or platform.machine(),
        "cpu_types": [flag for flag in _processor("flags").split() if flag in CPU_TYPES],
        "cores": os.cpu_count(),
        # What this process may use is what counts where cores are shared out.
        "cores_used": cores(),
        "memory_mb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: version for package in PACKAGES if (version := _version(package))},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": bool(_git("status", "--porcelain", "--", "src", "benchmarks/*.py")),
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/{script} {shlex.join(sys.argv[1:])}".strip(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor(key: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
    processor = where["gpu"] or f"{where['cpu']} ({', '.join(where['cpu_types'])}), cores: {where['cores_used']}"
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items())
    code = f"commit {where['commit'][:10]}{' and changes not committed' if where['changed_files'] else ''}"
    line = f"{processor}; {versions}; {code}, {where['date']}; `{where['command']}`"
    readme.write_text(f"{before}{begin}\n{line}\n\n{table.strip()}\n{end}{after}", encoding="utf-8")
