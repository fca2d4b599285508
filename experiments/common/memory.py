"""Peak memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """The most that was alive at once, over what was alive before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
        run()
    found = profile.profiler.kineto_results.events()
    events = sorted((e.start_ns(), e.nbytes()) for e in found if e.name() == "[memory]")
    alive = peak = 0
    for _, size in events:
        alive += size
        peak = max(peak, alive)
    return peak
