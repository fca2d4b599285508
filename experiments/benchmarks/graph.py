"""What a compiler and an accelerator need: no graph break in metric and solve, no host synchronisation in a step.

The second part, and its timings, run only where there is a CUDA device; elsewhere the record says that they did not.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import metrics, norms
from geosam.observation import as_metric

from ..common.timing import Job, race
from ..networks.mlp import mlp

ALLOCATORS = ("unpinned",)
RHO = 0.05
METRICS: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "GradientMagnitude": metrics.GradientMagnitude(),
    "ParameterScaled": metrics.ParameterScaled(),
    "Monge": metrics.Monge(),
    "Sup": as_metric(norms.Sup()),
}


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """Both parts."""
    breaks = {name: graph_breaks(metric) for name, metric in METRICS.items()}
    result = {"settings": {"rho": RHO}, "graph_breaks": breaks, "met": all(count == 0 for count in breaks.values())}
    if not torch.cuda.is_available():
        return {**result, "cuda": "not run: no CUDA device here"}
    return {**result, **on_device(torch.device("cuda"), 5 if quick else 31)}


def graph_breaks(metric: geosam.Metric) -> int:
    """Breaks that TorchDynamo counts in metric.at + solve."""
    parameters = [torch.randn(8, 4), torch.randn(8)]
    gradients = [torch.randn(8, 4), torch.randn(8)]

    def solved(parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        observation = geosam.Observation(parameters, gradients, torch.zeros(()))
        return geosam.solve(metric.at(observation), gradients, RHO).epsilon

    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return int(torch._dynamo.explain(solved)(parameters, gradients).graph_break_count)


def on_device(device: torch.device, rounds: int) -> dict[str, Any]:
    """Steps of every metric and move under "error on synchronisation", and their times over two passes and a base step."""
    torch.manual_seed(0)
    model = mlp(784, 2048, 2048, 2048, 10).to(device)
    x, y = torch.randn(128, 784, device=device), torch.randint(10, (128,), device=device)

    def closure() -> Tensor:
        for p in model.parameters():
            p.grad = None
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def sgd() -> torch.optim.SGD:
        return torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def job(name: str, run: Callable[[], Any]) -> Job:
        def once() -> None:
            run()
            torch.cuda.synchronize(device)

        return Job(name, once, lambda: torch.cuda.synchronize(device))

    by_hand = sgd()
    floor = job("floor", lambda: (closure(), closure(), by_hand.step()))
    jobs, clean = [], {}
    for name, metric in METRICS.items():
        for move in (geosam.Copy(), geosam.Swap()):
            label = f"{type(move).__name__.lower()}, {name}"
            optimizer = geosam.SAM(sgd(), metric, RHO, move=move)
            optimizer.step(closure)  # the allocations of a first step may synchronise
            step = partial(optimizer.step, closure)
            clean[label] = without_synchronising(step, device)
            jobs.append(job(label, step))
    return {"cuda, no synchronisation": clean, "cuda, whole step": race(floor, jobs, rounds)}


def without_synchronising(job: Callable[[], Any], device: torch.device) -> str | bool:
    """True, or torch's message where the host had to wait, with the library's line."""
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        job()
    except RuntimeError as error:
        home = str(Path(geosam.__file__).parent)
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(home)]
        at = f", at {Path(lines[-1].filename).relative_to(home)}:{lines[-1].lineno}" if lines else ""
        return f"{str(error).splitlines()[0]}{at}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True
