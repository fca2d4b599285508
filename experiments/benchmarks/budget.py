"""A race within a budget of seconds, where any job may fail, run out of memory, or never end."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..common.memory import peak_bytes
from ..common.timing import DEVICE, PROCESS, Clock, Job, race

AGAIN, LEAST = 5.0, 5
"""Seconds between two alarms; rounds that a race must have: where there is no time for them the slowest job is left out."""


def contest(jobs: Sequence[Job], rounds: int, device: torch.device, until: float) -> dict[str, Any]:
    """Each job tried alone, then a race of those that ran, against the first. left_out: the others, each with the reason.

    peak_mb: of a step, over what was alive before it (parameters, momentum, batch).
    """
    clock = DEVICE if device.type == "cuda" else PROCESS
    left_out: dict[str, str] = {}
    seconds, peaks = {}, {}
    for job in jobs:
        try:
            with _at_most((until - time.monotonic()) / 2):
                seconds[job.name], peaks[job.name] = _tried(job, clock, device)
        except Exception as error:  # any failure is a result: devices name their limits differently
            left_out[job.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        _clear(job, device)
    floor, able = jobs[0], [job for job in jobs[1:] if job.name in seconds]
    if floor.name not in seconds:
        return {"left_out": left_out}
    while able and until - time.monotonic() < LEAST * (seconds[floor.name] + sum(seconds[job.name] for job in (floor, *able))):
        slowest = max(able, key=lambda job: seconds[job.name])
        able.remove(slowest)
        left_out[slowest.name] = f"too slow for {LEAST} rounds: {seconds[slowest.name]:.3g} s, {peaks[slowest.name]} MB"
    raced = race(floor, able, rounds, warmup=0, clock=clock, until=until)
    for name, peak in peaks.items():
        if name in raced["jobs"]:
            raced["jobs"][name]["peak_mb"] = peak
    return {**raced, "left_out": left_out}


def _tried(job: Job, clock: Clock, device: torch.device) -> tuple[float, float]:
    """(seconds, peak in MB) of a run, after a first one that makes what is kept: structure, momentum, kernels."""
    job.prepare()
    job.run()
    job.prepare()
    peak = peak_bytes(job.run, device)
    job.prepare()
    return clock.measure(job.run) / 1e3, round(peak / 2**20, 1)


def _clear(job: Job, device: torch.device) -> None:
    job.prepare()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError as soon as Python code runs again after so many seconds.

    An exception in a callback of the garbage collector is lost, so the alarm repeats.
    """

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds:.0f} s, half of what was left of the budget")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
