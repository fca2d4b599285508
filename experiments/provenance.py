"""What a number depends on beside its configuration: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel

import geosam

ROOT = Path(__file__).resolve().parents[1]


class Provenance(BaseModel):
    """commit: None outside a git checkout, with "-dirty" appended where tracked files had been changed."""

    commit: str | None
    versions: dict[str, str]
    device: str
    threads: int
    finished: str

    @classmethod
    def here(cls) -> Provenance:
        """Of this process, now."""
        versions = {"python": platform.python_version(), "geosam": geosam.__version__}
        return cls(
            commit=commit(),
            versions=versions | {name: _version(name) for name in ("torch", "numpy", "scikit-learn")},
            device=f"cpu, {_cpu()}",
            threads=torch.get_num_threads(),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )


def commit() -> str | None:
    """The commit of this checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
