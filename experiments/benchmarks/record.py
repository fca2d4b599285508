"""One record a benchmark: what ran, on what, and every number, written in one stroke."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..files import write as write_bytes
from ..provenance import ROOT

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
    """What timings depend on beside provenance."""
    gpu = torch.cuda.is_available()
    return {
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "system": f"{platform.system()} {platform.machine()}",
        "allocator": {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")},
        "load_average": round(os.getloadavg()[0], 2),
    }


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def write(path: Path, value: Any) -> None:
    """As JSON."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
