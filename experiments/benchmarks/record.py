"""One record a benchmark: what ran, on what, and every number, written in one stroke."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "experiments" / "records" / "benchmarks"

# glibc gives pages above these sizes back to the system at every free, and faults them in again at the next step.
PINNED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}
SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"}


def environment(allocator: str) -> dict[str, str]:
    """The variables of a worker process, whose allocator is "pinned" or "unpinned"."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    return {**plain, **SETTINGS, **(PINNED if allocator == "pinned" else {}), "PYTHONPATH": str(ROOT)}


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "allocator": {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")},
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in fields.items()}
        keys = ("model name", "cpu family", "model")
        return ", ".join(f"{key} {named[key]}" if key != "model name" else named[key] for key in keys if key in named)
    return platform.processor()


def commit() -> str | None:
    """The commit that ran, marked where tracked files had been changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write(path: Path, value: Any) -> None:
    """Atomically: a reader finds the old record or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
