"""What a number depends on beside its configuration: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import geosam

from .files import ROOT


@dataclass(frozen=True)
class Provenance:
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
            device=f"cpu, {cpu()}",
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


def cpu() -> str:
    """Model name, and on Linux family and model as well: one name such as "AMD EPYC" belongs to many processors."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in fields.items()}
        keys = ("model name", "cpu family", "model")
        found = [named[key] if key == "model name" else f"{key} {named[key]}" for key in keys if key in named]
        if found:
            return ", ".join(found)
    return platform.processor() or platform.machine()
