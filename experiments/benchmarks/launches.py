"""What the host launches on a CUDA device in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

CALLS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaGraphLaunch")


def launches(run: Callable[[], Any]) -> int:
    """Kernels, copies, fills, and graphs as a whole."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        run()
        torch.cuda.synchronize()
    return sum(event.name().startswith(CALLS) for event in record.profiler.kineto_results.events())
