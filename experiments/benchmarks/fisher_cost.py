"""What the Fishers cost: a whole step over the whole Euclidean step, with each engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import engines, metrics
from geosam.problem import Bound

from ..common.timing import Job, Target, race
from ..networks.group_resnet import group_resnet
from ..networks.mlp import mlp
from ..networks.vision_transformer import VisionTransformer
from .memory import RHO, extra_copies

ALLOCATORS = ("pinned",)  # hundreds of megabytes of rows a step: unpinned, page faults would take most of the time
SGD: dict[str, Any] = {"lr": 1e-6, "momentum": 0.9}


@dataclass(frozen=True)
class Case:
    """A network with its batch size, the shape of an input, and the limits on a step over the Euclidean step."""

    name: str
    model: Callable[[], nn.Module]
    n: int
    shape: tuple[int, ...]
    limits: tuple[float, ...]

    def make(self) -> tuple[nn.Module, Tensor, Tensor]:
        """Always the same numbers."""
        torch.manual_seed(0)
        return self.model(), torch.randn(self.n, *self.shape), torch.randint(10, (self.n,))

    @property
    def targets(self) -> list[Target]:
        """In the order of ``LIMITED``."""
        return [Target(name, limit) for name, limit in zip(LIMITED, self.limits, strict=True)]


LIMITED = ("EmpiricalFisher", "DiagonalEmpiricalFisher", "Fisher, MonteCarlo(1)", "KL along ḡ²", "KL along the diagonal")
CASES = (
    Case("MLP 784-512-512-10", lambda: mlp(784, 512, 512, 10), 128, (784,), (1.15, 1.2, 1.6, 1.5, 1.8)),
    Case("residual CNN, GroupNorm", group_resnet, 64, (3, 32, 32), (1.25, 1.2, 1.6, 1.5, 1.8)),
    Case("ViT, 3 blocks of width 128", VisionTransformer, 32, (3, 32, 32), (1.15, 1.12, 1.5, 1.5, 1.8)),
)
METRICS: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "EmpiricalFisher": metrics.EmpiricalFisher(),
    "DiagonalEmpiricalFisher": metrics.DiagonalEmpiricalFisher(),
    "Fisher, MonteCarlo(1)": metrics.Fisher(sampling=metrics.MonteCarlo(1)),
    "KL along ḡ²": metrics.KLExact(along=metrics.GradientMagnitude()),
    "KL along the diagonal": metrics.KLExact(along=metrics.DiagonalEmpiricalFisher()),
}
SLOW: dict[str, geosam.Metric] = {  # rows formed for every parameter, n·C rows, and dozens of products
    "EmpiricalFisher, engine Func": metrics.EmpiricalFisher(engine=engines.Func()),
    "DiagonalEmpiricalFisher, engine Func": metrics.DiagonalEmpiricalFisher(engine=engines.Func()),
    # a number for λ: a relative one would add the cost of the exact trace of F
    "Fisher, Exact, n·C rows": metrics.Fisher(damping=1e-2, rows_limit=4096),
    "Fisher, Exact, ten iterations of CG": metrics.Fisher(damping=1e-2, rows_limit=0, iterations=10),
}


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """A race a network, one more of what is slow, and one product with the Fisher."""
    settings = {"base": {"class": "SGD", **SGD}, "rho": RHO, "n": {case.name: case.n for case in CASES}}
    result: dict[str, Any] = {"settings": settings}
    for case in CASES:
        if quick and case is not CASES[0]:  # whose slow steps take ten seconds each
            result[case.name] = _race(case, METRICS, 1, case.targets, warmup=1)
            continue
        result[case.name] = _weighed(case, METRICS, _race(case, METRICS, 2 if quick else 31, case.targets))
        slow = {"Euclidean": METRICS["Euclidean"], **SLOW}
        # three rounds cannot measure noise, and these jobs are slower by multiples
        result[f"{case.name}, slow"] = _weighed(case, slow, _race(case, slow, 1 if quick else 3, warmup=1)) | {"void": False}
        result[f"{case.name}, one product"] = _product(case, 1 if quick else 15)
    return result


def _race(
    case: Case, chosen: Mapping[str, geosam.Metric], rounds: int, targets: Sequence[Target] = (), warmup: int = 3
) -> dict[str, Any]:
    model, x, y = case.make()
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    jobs = [stepping(name, model, metric, problem) for name, metric in chosen.items()]
    parameters = sum(p.numel() for p in model.parameters())
    return {**race(jobs[0], jobs[1:], rounds, targets, warmup), "parameters": parameters}


def _weighed(case: Case, chosen: Mapping[str, geosam.Metric], raced: dict[str, Any]) -> dict[str, Any]:
    """With the memory of each job."""
    for name, metric in chosen.items():
        raced["jobs"][name]["memory_copies"] = _memory(case, metric)["later"]
    return raced


def stepping(name: str, model: nn.Module, metric: geosam.Metric, problem: Bound) -> Job:
    """A whole step, from no gradients."""
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), **SGD), metric, RHO)

    def reset() -> None:
        for p in model.parameters():
            p.grad = None

    return Job(name, lambda: optimizer.step(problem), reset)


def _memory(case: Case, metric: geosam.Metric) -> dict[str, float]:
    model, x, y = case.make()
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), **SGD), metric, RHO)
    return extra_copies(model, nn.CrossEntropyLoss(), x, y, optimizer)


def _product(case: Case, rounds: int) -> dict[str, Any]:
    """v ↦ Fv + λv at a point already linearised: what one iteration of conjugate gradients does."""
    model, x, y = case.make()
    problem = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    norm = metrics.Fisher(rows_limit=0).at(problem)
    assert isinstance(norm, geosam.InnerProduct)
    v = [torch.ones_like(p) for p in model.parameters()]
    raced = race(Job("forward and backward", problem), [Job("product", lambda: norm.flat(v))], rounds, [Target("product", 1.4)])
    return {**raced, "notes": ["labels are summed over in closed form"]}
