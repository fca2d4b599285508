"""What the per-sample Fishers cost: a whole step over the whole Euclidean step, and its extra memory. No limit is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import metrics
from geosam.problem import Bound

from .memory import RHO, extra_copies
from .networks import VisionTransformer, group_resnet, mlp
from .timing import Job, race

ALLOCATORS = ("pinned",)  # hundreds of megabytes of rows a step: unpinned, page faults are all that one would see
SGD = {"lr": 1e-6, "momentum": 0.9}


@dataclass(frozen=True)
class Case:
    """A network with its batch size and the shape of an input."""

    name: str
    model: Callable[[], nn.Module]
    n: int
    shape: tuple[int, ...]

    def make(self) -> tuple[nn.Module, Tensor, Tensor]:
        """Always the same numbers."""
        torch.manual_seed(0)
        return self.model(), torch.randn(self.n, *self.shape), torch.randint(10, (self.n,))


CASES = (
    Case("MLP 784-512-512-10", lambda: mlp(784, 512, 512, 10), 128, (784,)),
    Case("residual CNN, GroupNorm", group_resnet, 64, (3, 32, 32)),
    Case("ViT, 3 blocks of width 128", VisionTransformer, 32, (3, 32, 32)),
)
METRICS: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "EmpiricalFisher": metrics.EmpiricalFisher(),
    "DiagonalEmpiricalFisher": metrics.DiagonalEmpiricalFisher(),
}


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """One race a network."""
    settings = {"base": {"class": "SGD", **SGD}, "rho": RHO, "n": {case.name: case.n for case in CASES}}
    result: dict[str, Any] = {"settings": settings}
    for case in CASES:
        model, x, y = case.make()
        problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
        jobs = [_job(name, model, metric, problem) for name, metric in METRICS.items()]
        raced = race(jobs[0], jobs[1:], 2 if quick else 31)
        for name, row in raced["jobs"].items():
            if name in METRICS:
                row["memory_copies"] = _memory(case, METRICS[name])["later"]
        raced["parameters"] = sum(p.numel() for p in model.parameters())
        result[case.name] = raced
    return result


def _job(name: str, model: nn.Module, metric: geosam.Metric, problem: Bound) -> Job:
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), **SGD), metric, RHO)

    def reset() -> None:
        for p in model.parameters():
            p.grad = None

    return Job(name, lambda: optimizer.step(problem), reset)


def _memory(case: Case, metric: geosam.Metric) -> dict[str, float]:
    model, x, y = case.make()
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), **SGD), metric, RHO)
    return extra_copies(model, nn.CrossEntropyLoss(), x, y, optimizer)
