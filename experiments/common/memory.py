"""Peak memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._C._profiler import _ExtraFields_Allocation, _ProfilerEvent


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """The most that was alive at once, over what was alive before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    return peak_and_kept(run)[0]


def peak_and_kept(run: Callable[[], Any]) -> tuple[int, int]:
    """(most, last) bytes alive on the host of those that ``run`` allocates, in the profiler's record; cycles stay."""
    cpu, collects = torch.profiler.ProfilerActivity.CPU, gc.isenabled()
    gc.disable()
    try:
        with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
            run()
    finally:
        if collects:
            gc.enable()
    # what was allocated before is left out: torch takes the size of what is freed from a table that outlives a profile, so that
    # such a tensor is freed with the size of whatever an earlier profile saw at its address, or not at all
    sizes: dict[int, int] = {}
    alive = peak = 0
    found = allocations(profile.profiler.kineto_results.experimental_event_tree())
    for _, address, size in sorted(found):
        if size > 0:
            sizes[address] = size
            alive += size
            peak = max(peak, alive)
        else:
            alive -= sizes.pop(address, 0)
    return peak, alive


def allocations(events: list[_ProfilerEvent]) -> Iterator[tuple[int, int, int]]:
    """(when, address, bytes) on the host; bytes are negative where memory is freed."""
    for event in events:
        match event.extra_fields:
            case _ExtraFields_Allocation(device=device, ptr=address, alloc_size=size) if device.type == "cpu":
                yield event.start_time_ns, address, size
        yield from allocations(event.children)
