"""A whole optimizer step over its floor: two forward/backward passes and one base step, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import geosam

from ..common.timing import Job, Target, race
from ..networks.mlp import mlp
from ..networks.resnet import resnet20
from .move import GEOMETRIES, RHO
from .peers import INSTALL, ReferenceSAM, pytorch_optimizer_sam, versions

ALLOCATORS = ("pinned", "unpinned")
# The weights must stay where they are from job to job; a step costs the same at any rate.
SGD: dict[str, Any] = {"lr": 1e-6, "momentum": 0.9}


class Training:
    """A network and one batch, shared by all jobs that keep the parameters' storages."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y = model.train(), x, y
        self.parameters = list(model.parameters())
        self.problem = geosam.Problem(model, nn.CrossEntropyLoss())

    @classmethod
    def resnet(cls) -> Training:
        """ResNet-20 of width 16 at batch 64."""
        torch.manual_seed(0)
        return cls(resnet20(16), torch.randn(64, 3, 32, 32), torch.randint(10, (64,)))

    @classmethod
    def wide_mlp(cls) -> Training:
        """10 million parameters at batch 16: all time goes into reading weights."""
        torch.manual_seed(0)
        return cls(mlp(784, 2048, 2048, 2048, 10), torch.randn(16, 784), torch.randint(10, (16,)))

    def reset(self) -> None:
        """No gradients."""
        for p in self.parameters:
            p.grad = None

    def closure(self) -> Tensor:
        """Zero the gradients, forward, backward."""
        for p in self.parameters:
            p.grad = None
        loss = nn.functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        return loss

    def base(self) -> torch.optim.SGD:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters, **SGD)

    def job(self, name: str, run: Callable[[], Any]) -> Job:
        """Timed from the reset state."""
        return Job(name, run, self.reset)


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """One race a network. Unpinned only the network whose time is memory traffic."""
    settings = {"base": {"class": "SGD", **SGD}, "rho": RHO, **versions()}
    wide = (Target("copy, Euclidean", 1.25), Target("swap, Euclidean", 1.15))
    result = {"settings": settings, "MLP 10 M, batch 16": _race(Training.wide_mlp, 5 if quick else 41, wide)}
    if allocator == "unpinned":
        return result
    deep = (
        Target("copy, Euclidean", 1.02),
        Target("swap, Euclidean", 1.02),
        Target("copy, GradientMagnitude", 1.01, "copy, Euclidean"),
    )
    return {**result, "ResNet-20 width 16, 32×32, batch 64": _race(Training.resnet, 2 if quick else 31, deep)}


def _race(scene: Callable[[], Training], rounds: int, targets: tuple[Target, ...]) -> dict[str, Any]:
    training = scene()
    jobs = [passes(training, "one SGD step", 1), *_geosam(training), *_peers(training), *_reference(scene())]
    raced = race(passes(training, "floor", 2), jobs, rounds, targets)
    one = raced["jobs"]["one SGD step"]["process_ms"]
    for row in raced["jobs"].values():
        row["to_sgd"] = round(row["process_ms"] / one, 4)
    return {**raced, "notes": [] if pytorch_optimizer_sam() else [INSTALL]}


def passes(training: Training, name: str, count: int) -> Job:
    """By hand: so many forward/backward passes and one base step."""
    base = training.base()

    def go() -> None:
        for _ in range(count):
            training.closure()
        base.step()

    return training.job(name, go)


def ours(
    training: Training,
    name: str,
    metric: geosam.Metric,
    move: geosam.Copy | geosam.Swap,
    source: Callable[[], Any] | None = None,
) -> Job:
    """A whole step of geosam, by default from the plain closure."""
    optimizer, source = geosam.SAM(training.base(), metric, RHO, move=move), source or training.closure
    return training.job(name, lambda: optimizer.step(source))


def theirs(training: Training, name: str, **options: Any) -> Job:
    """A whole step of pytorch_optimizer's SAM. Raises: ImportError where it is not installed."""
    peer = pytorch_optimizer_sam()
    if peer is None:
        raise ImportError(INSTALL)
    return _two_passes(training, name, peer(training.parameters, torch.optim.SGD, rho=RHO, **options, **SGD))


def reference(training: Training, name: str, adaptive: bool = False) -> Job:
    """A whole step of the reference."""
    return _two_passes(training, name, ReferenceSAM(training.base(), RHO, adaptive))


def _geosam(training: Training) -> list[Job]:
    jobs = [
        ours(training, f"{how.lower()}, {name}", metric, getattr(geosam, how)())
        for name, metric in GEOMETRIES.items()
        for how in ("Copy", "Swap")
    ]
    bound = training.problem.on(training.x, training.y)
    return [*jobs, ours(training, "copy, Euclidean, bound problem", geosam.metrics.Euclidean(), geosam.Copy(), bound)]


def _two_passes(training: Training, name: str, optimizer: Any) -> Job:
    def go() -> None:
        training.closure()
        optimizer.step(training.closure)

    return training.job(name, go)


def _peers(training: Training) -> list[Job]:
    if pytorch_optimizer_sam() is None:
        return []
    names = (("pytorch_optimizer SAM", False), ("pytorch_optimizer SAM, adaptive", True))
    return [theirs(training, name, adaptive=adaptive) for name, adaptive in names]


def _reference(training: Training) -> list[Job]:
    return [
        reference(training, name, adaptive) for name, adaptive in (("reference SAM", False), ("reference SAM, adaptive", True))
    ]
