"""Moves and whole steps on an accelerator, eager and captured, beside their floors and peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

import geosam
from geosam import metrics

from ..common.timing import Job
from . import move, step
from .captured import captured, captured_passes, captures, graphed
from .contest import contest
from .ledger import Turn
from .scenes import Scene


def steps_of(scene: Scene, rounds: int, device: torch.device, turn: Turn) -> dict[str, Any]:
    """Whole steps, eager and captured, over two passes and one base step."""

    def on(make: Callable[..., Job], name: str, *arguments: Any, **options: Any) -> tuple[str, Callable[[], Job]]:
        return name, lambda: make(scene.training(device), name, *arguments, **options)

    named = {"Euclidean": metrics.Euclidean(), "GradientMagnitude": metrics.GradientMagnitude()}
    jobs = dict(
        [
            on(step.passes, "floor", 2),
            on(step.passes, "one SGD step", 1),
            *(on(step.ours, f"copy, {name}", metric, geosam.Copy()) for name, metric in move.GEOMETRIES.items()),
            on(step.ours, "swap, Euclidean", metrics.Euclidean(), geosam.Swap()),
            on(step.theirs, "pytorch_optimizer SAM, foreach", foreach=True),
            on(step.reference, "reference SAM"),
            on(captured_passes, "captured floor"),
            *(on(captured, f"captured, {name}", metric) for name, metric in named.items()),
        ]
    )
    raced = contest(jobs, rounds, device, turn)
    over("captured floor", raced)
    return raced


def over(floor: str, raced: dict[str, Any]) -> None:
    """Rows of the captured jobs say what they cost over a captured floor too."""
    rows = raced.get("jobs", {})
    clock = next((key for row in rows.values() for key in row if key in ("device_ms", "process_ms")), "")
    for name, row in rows.items():
        if name.startswith("captured") and floor in rows:
            row["over_captured"] = round(row[clock] / rows[floor][clock], 4)


def moves_of(shapes: Sequence[tuple[int, ...]], rounds: int, device: torch.device, turn: Turn) -> dict[str, Any]:
    """Perturb and restore alone, over copying 7 floats a parameter in one tensor."""

    def scene() -> move.Scene:
        return move.Scene(shapes, device.type)

    def floor() -> Job:
        flat = torch.cat([g.flatten() for g in scene().gradients])
        target, half = torch.empty_like(flat), flat.numel() // 2

        def copies() -> None:
            for _ in range(3):
                target.copy_(flat)
            target[:half].copy_(flat[:half])

        return Job("floor", copies)

    def of(name: str, metric: geosam.Metric, how: geosam.Copy | geosam.Swap) -> tuple[str, Callable[[], Job]]:
        return name, lambda: move.perturbing(scene(), name, metric, how)

    def whole(name: str, metric: geosam.Metric) -> tuple[str, Callable[[], Job]]:
        def make() -> Job:
            captures()
            return Job(name, graphed(move.perturbing(scene(), name, metric, geosam.Copy()).run))

        return name, make

    jobs = {
        "floor": floor,
        **dict(of(f"copy, {name}", metric, geosam.Copy()) for name, metric in move.GEOMETRIES.items()),
        **dict(of(f"swap, {name}", metric, geosam.Swap()) for name, metric in move.GEOMETRIES.items()),
        "pytorch_optimizer SAM, foreach": lambda: move.theirs(scene(), "pytorch_optimizer SAM, foreach", foreach=True),
        **dict(whole(f"captured, copy, {name}", metric) for name, metric in move.GEOMETRIES.items()),
    }
    return contest(jobs, rounds, device, turn) | {"parameters": sum(torch.Size(shape).numel() for shape in shapes)}
