"""How many runs a device has room for."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..records import Record

CONTEXT = 700 * 2**20
"""Bytes of device memory that a process takes before its first tensor."""


def fitting(device: str, record: Record[Any] | None) -> int:
    """Processes at once: a core each, and on CUDA no more than what the first run's peak leaves room for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.device(device).type != "cuda" or record is None:
        return cores if torch.device(device).type == "cpu" else 1
    free, _ = torch.cuda.mem_get_info(device)
    each = 1.2 * record.result["peak_bytes"] + CONTEXT
    return max(1, min(cores, int(0.9 * free / each)))
