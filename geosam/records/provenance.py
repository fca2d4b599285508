"""What a number depends on beside its configuration: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Provenance:
    """commit: None outside a git checkout, with "-dirty" appended where tracked files had been changed."""

    commit: str | None
    versions: dict[str, str]
    device: str
    threads: int
    finished: str

    @classmethod
    def here(cls, device: str = "cpu") -> Provenance:
        """Of this process, now; the commit is that of the working directory."""
        versions = {"python": platform.python_version(), "geosam": import_module("geosam").__version__}
        return cls(
            commit=commit(),
            versions=versions | {name: _version(name) for name in PACKAGES},
            device=f"cpu, {cpu()}" if torch.device(device).type == "cpu" else f"{device}, {_accelerator(device)}",
            threads=torch.get_num_threads(),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )


def commit() -> str | None:
    """The commit of the checkout that the working directory is in."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _accelerator(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else platform.machine()


@cache
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
