"""A race on a device within a budget of seconds, in which any job may fail, run out of memory, or be too slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from ..common.memory import peak_bytes
from ..common.timing import DEVICE, PROCESS, Clock, Job, race
from .launches import launches
from .ledger import Turn, reason

LEAST, ENOUGH, TO_COUNT = 5, 15, 0.15
"""Rounds that a race must have, or the slowest job is left out; rounds that it has though the trials took long; the share of
its time in which launches are counted."""


class Tried(NamedTuple):
    """A job that ran, with the seconds and the peak in MB of a run."""

    job: Job
    seconds: float
    peak: float


def contest(jobs: Mapping[str, Callable[[], Job]], rounds: int, device: torch.device, turn: Turn) -> dict[str, Any]:
    """Each job made and tried alone, then a race of those that ran, against the first. left_out: the others, with the reasons.

    A job owns what it runs on, so that one that fails halfway harms no other. peak_mb: of a run, over what was alive before it
    (parameters, momentum, batch). launches: kernels, copies and graphs that the host launches in a run; only on a device.
    """
    clock, share = DEVICE if device.type == "cuda" else PROCESS, turn.until - time.monotonic()
    trials = {name: partial(_try, make, clock, device) for name, make in jobs.items()}
    tried, left_out = turn.each(trials, device)
    floor = next(iter(jobs))
    if floor not in tried:
        return {"left_out": left_out}
    wanted = min(ENOUGH * sum(each.seconds for each in tried.values()), share)
    end = max(turn.until - TO_COUNT * share, time.monotonic() + wanted)  # what this borrows, later parts lack
    while True:
        while len(tried) > 1 and end - time.monotonic() < LEAST * sum(each.seconds for each in tried.values()):
            slowest = max((name for name in tried if name != floor), key=lambda name: tried[name].seconds)
            one = tried.pop(slowest)
            left_out[slowest] = f"too slow for {LEAST} rounds: {one.seconds:.3g} s, {one.peak} MB"
        jobs_left = [_named(each.job) for each in tried.values()]
        try:
            raced = race(jobs_left[0], jobs_left[1:], rounds, warmup=1, clock=clock, until=end)
            break
        except Failed as error:
            left_out[error.job] = f"{error.why}, in the race"
            del tried[error.job]
        turn.go_on(device)
        if floor not in tried:
            return {"left_out": left_out}
    for name, each in tried.items():
        raced["jobs"][name]["peak_mb"] = each.peak
    for name, count in _counted(tried, device, replace(turn, until=max(turn.until, end + TO_COUNT * share))).items():
        raced["jobs"][name]["launches"] = count
    return {**raced, "left_out": left_out}


def _counted(tried: Mapping[str, Tried], device: torch.device, turn: Turn) -> dict[str, int]:
    """Launches, on a device and while time is left."""

    def count(job: Job) -> int:
        job.prepare()
        return launches(job.run)

    return (
        turn.each({name: partial(count, each.job) for name, each in tried.items()}, device)[0] if device.type == "cuda" else {}
    )


class Failed(Exception):
    """A job that ran before failed in the race."""

    def __init__(self, job: str, why: str) -> None:
        super().__init__(job, why)
        self.job, self.why = job, why


def _named(job: Job) -> Job:
    def run() -> None:
        try:
            job.run()
        except Exception as error:
            raise Failed(job.name, reason(error)) from error

    return Job(job.name, run, job.prepare)


def _try(make: Callable[[], Job], clock: Clock, device: torch.device) -> Tried:
    """After a first run, which makes what is kept: structure, momentum, kernels."""
    job = make()
    job.prepare()
    job.run()
    job.prepare()
    peak = peak_bytes(job.run, device)
    job.prepare()
    return Tried(job, clock.measure(job.run) / 1e3, round(peak / 2**20, 1))
