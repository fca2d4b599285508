"""Extra memory of a step, in copies of the parameters, per metric and move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import geosam
from geosam import metrics

from ..common.memory import peak_bytes
from ..networks.mlp import mlp

ALLOCATORS = ("unpinned",)
RHO = 0.05
METRICS: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "GradientMagnitude": metrics.GradientMagnitude(),
    "ParameterScaled": metrics.ParameterScaled(),
    "Monge": metrics.Monge(),
    "DiagonalEmpiricalFisher": metrics.DiagonalEmpiricalFisher(),
    "EmpiricalFisher": metrics.EmpiricalFisher(),
}


def extra_copies(
    model: nn.Module, loss: nn.Module, x: torch.Tensor, y: torch.Tensor, optimizer: geosam.SAM
) -> dict[str, float]:
    """Peak of a step over the peak of the base optimizer's own step, in copies of the parameters.

    first: the step that also makes the buffers that stay. later: what a further step takes over those, transient memory only.
    """
    problem = geosam.Problem(model, loss).on(x, y)
    parameters = list(model.parameters())
    unit = sum(p.numel() * p.element_size() for p in parameters)

    def base() -> None:
        problem()
        optimizer.base.step()

    def measure(run: Callable[[], Any]) -> int:
        for p in parameters:
            p.grad = None
        return peak_bytes(run, parameters[0].device)

    base()  # momentum belongs to the base optimizer
    plain = measure(base)
    first = measure(lambda: optimizer.step(problem))
    later = measure(lambda: optimizer.step(problem))
    return {"first": round((first - plain) / unit, 2), "later": round((later - plain) / unit, 2)}


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """A network whose weights outweigh its activations, so that what is counted is the optimizer's."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table: dict[str, dict[str, float]] = {}
    for name, metric in METRICS.items():
        for move in (geosam.Copy(), geosam.Swap()):
            torch.manual_seed(0)
            model = mlp(256, 512, 512, 10).to(device)
            x, y = torch.randn(16, 256, device=device), torch.randint(10, (16,), device=device)
            optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), metric, RHO, move=move)
            row = extra_copies(model, nn.CrossEntropyLoss(), x, y, optimizer)
            table[f"{type(move).__name__.lower()}, {name}"] = row
    settings = {"network": "256-512-512-10", "batch": 16, "base": "SGD with momentum", "device": str(device), "rho": RHO}
    return {"settings": settings, "copies": table}
