"""The environment of a worker process: malloc reads its settings when a process starts."""

from __future__ import annotations

import os

from ..common.files import ROOT

# glibc gives pages above these sizes back to the system at every free, and faults them in again at the next step.
PINNED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}
SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"}


def environment(allocator: str) -> dict[str, str]:
    """All variables, for an allocator that is "pinned" or "unpinned"."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**plain, **SETTINGS, **(PINNED if allocator == "pinned" else {}), "PYTHONPATH": path}
