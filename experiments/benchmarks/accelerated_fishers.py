"""What the Fishers cost on an accelerator, with their peak memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import geosam
from geosam import metrics
from geosam.engines import Auto
from geosam.problem import Bound
from geosam.problem.frozen import frozen

from ..common.timing import Job
from .contest import contest
from .fisher_cost import METRICS, SLOW, stepping
from .ledger import Turn
from .scenes import Scene

CG = "Fisher, Exact, ten iterations of CG"
JOBS = {**METRICS, CG: SLOW[CG]}


def fishers_of(scene: Scene, rounds: int, device: torch.device, turn: Turn) -> dict[str, Any]:
    """Whole steps under the Fishers, over the whole Euclidean step."""

    def of(name: str, metric: geosam.Metric) -> Callable[[], Job]:
        def make() -> Job:
            model, bound = scene.bind(device)
            return stepping(name, model, metric, bound)

        return make

    raced = contest({name: of(name, metric) for name, metric in JOBS.items()}, rounds, device, turn)
    _, bound = scene.bind(device)
    return raced | {"parameters": sum(p.numel() for p in bound.parameters), "rows of EmpiricalFisher": held(bound)}


def product_of(scene: Scene, rounds: int, device: torch.device, turn: Turn) -> dict[str, Any]:
    """v ↦ Fv + λv at a point already linearised, over a forward and backward pass."""

    def product() -> Job:
        bound = scene.bind(device)[1]
        norm = metrics.Fisher(damping=1e-2, rows_limit=0).at(bound)
        assert isinstance(norm, geosam.InnerProduct)
        v = [torch.ones_like(p) for p in bound.parameters]
        return Job("product", lambda: norm.flat(v))

    floor = "forward and backward"
    return contest({floor: lambda: Job(floor, scene.bind(device)[1]), "product": product}, rounds, device, turn)


def held(bound: Bound) -> dict[str, int] | str:
    """How many parameters have rows of which form: "rows" are formed and held, n × 4 bytes a parameter in float32."""
    counts: dict[str, int] = {}
    sizes = dict(zip(bound.names(bound.parameters), (p.numel() for p in bound.parameters), strict=True))
    try:
        apart = frozen(bound, bound.parameters) if bound.frozen_statistics else bound
        for choice in Auto().explain(apart, bound.parameters):
            counts[choice.form] = counts.get(choice.form, 0) + sum(sizes[name] for name in choice.names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return counts
