"""Interleaved timing: every job once a round in a shuffled order, medians over rounds, one job run twice."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

VOID = 0.02
"""The A/A difference above which a run says nothing, unless it is asked for less."""


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Job:
    """What is timed. ``prepare`` runs before each timer starts: it resets gradients and storages."""

    name: str
    run: Callable[[], Any]
    prepare: Callable[[], Any] = nothing


@dataclass(frozen=True)
class Clock:
    """name: of its milliseconds in a record. measure: run ↦ those that it took."""

    name: str
    measure: Callable[[Callable[[], Any]], float]


def _process(run: Callable[[], Any]) -> float:
    begin = time.process_time()
    run()
    return 1e3 * (time.process_time() - begin)


def _device(run: Callable[[], Any]) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


PROCESS = Clock("process", _process)
"""Other processes on the machine do not count into it."""

DEVICE = Clock("device", _device)
"""Events on the current CUDA device: from the first kernel to the last, gaps in which it waits for the host included."""


@dataclass(frozen=True)
class Target:
    """The limit on the time of ``job`` over that of ``over``; None over stands for the floor."""

    job: str
    limit: float
    over: str | None = None


def race(
    floor: Job,
    jobs: Sequence[Job],
    rounds: int,
    targets: Sequence[Target] = (),
    warmup: int = 3,
    *,
    clock: Clock = PROCESS,
    until: float = math.inf,
    void: float = VOID,
) -> dict[str, Any]:
    """Medians in milliseconds of every job, their ratios to the floor, and the floor's difference to itself (A/A).

    The clock's time decides; wall time stands beside it. until: a reading of ``time.monotonic`` after which no further round
    begins; one is always run. void: the A/A difference above which the ratios say nothing.
    """
    again = Job(f"{floor.name} (again)", floor.run, floor.prepare)
    timed, wall = interleaved([floor, again, *jobs], rounds, warmup, clock=clock, until=until)
    return _summary(floor.name, again.name, clock.name, timed, wall, targets, void)


def interleaved(
    entered: Sequence[Job], rounds: int, warmup: int = 3, *, clock: Clock = PROCESS, until: float = math.inf
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of every job by the clock and by the wall, a number a round; in each round the order is another one."""
    order = random.Random(0)
    timed: dict[str, list[float]] = {job.name: [] for job in entered}
    wall: dict[str, list[float]] = {job.name: [] for job in entered}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in range(warmup + rounds):
            if turn > warmup and time.monotonic() > until:
                break
            for job in order.sample(entered, len(entered)):
                job.prepare()
                begin = time.perf_counter()
                taken = clock.measure(job.run)
                if turn >= warmup:
                    timed[job.name].append(taken)
                    wall[job.name].append(1e3 * (time.perf_counter() - begin))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return timed, wall


def _summary(
    floor: str,
    again: str,
    clock: str,
    timed: dict[str, list[float]],
    wall: dict[str, list[float]],
    targets: Sequence[Target],
    void: float,
) -> dict[str, Any]:
    median = {name: statistics.median(times) for name, times in timed.items()}
    by_wall = {name: statistics.median(times) for name, times in wall.items()}
    rows = {
        name: {
            f"{clock}_ms": round(median[name], 4),
            "wall_ms": round(by_wall[name], 4),
            "ratio": round(median[name] / median[floor], 4),
            "wall_ratio": round(by_wall[name] / by_wall[floor], 4),
        }
        for name in median
    }
    difference = abs(median[again] / median[floor] - 1)
    verdicts = []
    for target in targets:
        over = target.over or floor
        if target.job in median and over in median:
            value = round(median[target.job] / median[over], 4)
            verdict = {"job": target.job, "over": over, "limit": target.limit, "value": value}
            verdicts.append({**verdict, "met": value <= target.limit})
    return {
        "floor": floor,
        "rounds": len(timed[floor]),
        "aa_difference": round(difference, 4),
        "aa_difference_wall": round(abs(by_wall[again] / by_wall[floor] - 1), 4),
        "void": difference > void,
        "jobs": rows,
        "targets": verdicts,
    }
