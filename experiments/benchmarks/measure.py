"""Each benchmark in a process of its own, with one record of each. Needs neither typer nor rich."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ..common.files import ROOT
from .allocator import environment
from .watch import watched

Results = dict[str, dict[str, Any]]

LIMITS = {"correct": 120.0, "accelerator": 420.0}
"""Seconds for the benchmarks whose record grows (ledger.py), where none are given."""


def measure(name: str, quick: bool, allocator: str | None, budget: float | None, where: Path | None) -> Results:
    """Allocator → result; the record in the folder ``where`` grows with it. What did not run leaves it as it was.

    quick: by default with the first allocator alone.
    """
    path = where and where / f"{name}.json"
    seconds = (budget or LIMITS[name]) if name in LIMITS else None
    # torch need not be waited for here where the allocator is given
    allocators = (allocator,) if allocator else import_module(f"{__package__}.{name}").ALLOCATORS[: 1 if quick else None]
    runs: Results = {}

    def keep(each: str, result: dict[str, Any]) -> None:
        runs[each] = result
        if path and not (path.exists() and all("not run" in run for run in runs.values())):
            from geosam.records import write_json  # brings torch, which --help does without

            write_json(path, {"name": name, "quick": quick, "runs": runs})

    for each in allocators:
        keep(each, inside(name, each, quick, seconds, partial(keep, each)))
    return runs


def inside(
    name: str, allocator: str, quick: bool, seconds: float | None, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """In a process whose allocator is set before it starts; watched where it has a limit of seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"

        def worker(left: float) -> list[str]:
            how = "quick" if quick else "full"
            return [sys.executable, "-m", f"{__package__}.worker", name, allocator, how, str(path), str(left)]

        if seconds is not None:
            return watched(worker, environment(allocator), ROOT, path, seconds, keep)
        subprocess.run(worker(0.0), env=environment(allocator), cwd=ROOT, check=True)
        result: dict[str, Any] = json.loads(path.read_text())
        return result
