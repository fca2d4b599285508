"""Interleaved timing: every job once a round in a shuffled order, medians over rounds, one job run twice."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

VOID = 0.02
"""The A/A difference above which a run says nothing."""


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Job:
    """What is timed. ``prepare`` runs before each timer starts: it resets gradients and storages."""

    name: str
    run: Callable[[], Any]
    prepare: Callable[[], Any] = nothing


@dataclass(frozen=True)
class Target:
    """The limit on the time of ``job`` over that of ``over``; None over stands for the floor."""

    job: str
    limit: float
    over: str | None = None


def race(floor: Job, jobs: Sequence[Job], rounds: int, targets: Sequence[Target] = (), warmup: int = 3) -> dict[str, Any]:
    """Medians in milliseconds of every job, their ratios to the floor, and the floor's difference to itself (A/A).

    Process time decides (other processes on the machine do not count into it); wall time stands beside it.
    """
    again = Job(f"{floor.name} (again)", floor.run, floor.prepare)
    entered = [floor, again, *jobs]
    order = random.Random(0)
    process: dict[str, list[float]] = {job.name: [] for job in entered}
    wall: dict[str, list[float]] = {job.name: [] for job in entered}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in range(warmup + rounds):
            for job in order.sample(entered, len(entered)):
                job.prepare()
                begin_wall, begin = time.perf_counter(), time.process_time()
                job.run()
                end, end_wall = time.process_time(), time.perf_counter()
                if turn >= warmup:
                    process[job.name].append(1e3 * (end - begin))
                    wall[job.name].append(1e3 * (end_wall - begin_wall))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return _summary(floor.name, again.name, process, wall, rounds, targets)


def _summary(
    floor: str,
    again: str,
    process: dict[str, list[float]],
    wall: dict[str, list[float]],
    rounds: int,
    targets: Sequence[Target],
) -> dict[str, Any]:
    cpu = {name: statistics.median(times) for name, times in process.items()}
    clock = {name: statistics.median(times) for name, times in wall.items()}
    rows = {
        name: {
            "process_ms": round(cpu[name], 4),
            "wall_ms": round(clock[name], 4),
            "ratio": round(cpu[name] / cpu[floor], 4),
            "wall_ratio": round(clock[name] / clock[floor], 4),
        }
        for name in cpu
    }
    difference = abs(cpu[again] / cpu[floor] - 1)
    verdicts = []
    for target in targets:
        over = target.over or floor
        if target.job in cpu and over in cpu:
            value = round(cpu[target.job] / cpu[over], 4)
            verdict = {"job": target.job, "over": over, "limit": target.limit, "value": value}
            verdicts.append({**verdict, "met": value <= target.limit})
    return {
        "floor": floor,
        "rounds": rounds,
        "aa_difference": round(difference, 4),
        "aa_difference_wall": round(abs(clock[again] / clock[floor] - 1), 4),
        "void": difference > VOID,
        "jobs": rows,
        "targets": verdicts,
    }
