"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

import torch


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
