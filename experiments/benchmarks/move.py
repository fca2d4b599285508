"""Perturb and restore alone: ε* from given gradients, into the parameters and out again; no model, no base step.

The floor is the time of copying the least bytes: 7 floats a parameter, which is 3.5 ``copy_`` of all parameters, since each
reads one float and writes one. Seven because a copy-based move must read g for its norm, read θ and write its copy, read g and
write θ + ε, then read the copy and write θ. Swapped buffers need 4: read g; read θ and g, write θ + ε; nothing to restore.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import metrics

from ..common.timing import Job, Target, race
from .peers import INSTALL, ReferenceSAM, Still, pytorch_optimizer_sam, versions

ALLOCATORS = ("pinned", "unpinned")
TENSORS, SHAPE, RHO = 60, (408, 409), 0.05
GEOMETRIES: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "GradientMagnitude": metrics.GradientMagnitude(),
    "ParameterScaled": metrics.ParameterScaled(),
}
LIMITS = {
    "copy, Euclidean": 1.10,
    "swap, Euclidean": 0.70,
    "swap, GradientMagnitude": 1.15,
    "swap, ParameterScaled": 1.15,
}
TARGETS = (
    *(Target(f"{path}, {job}", limit) for path in ("solve", "perturbed()") for job, limit in LIMITS.items()),
    Target("compiled, swap, GradientMagnitude", 0.90),
)


class Scene:
    """Parameters and preset gradients, shared by all jobs that keep the storages: all use the same memory pages."""

    def __init__(self, shapes: Sequence[tuple[int, ...]] = (SHAPE,) * TENSORS, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.parameters = [nn.Parameter(0.05 * torch.randn(shape, device=device)) for shape in shapes]
        self.gradients = [0.01 * torch.randn(shape, device=device) for shape in shapes]
        self.loss = torch.zeros((), device=device)

    def bare(self) -> None:
        """No gradients."""
        for p in self.parameters:
            p.grad = None

    def closure(self) -> Tensor:
        """Only a loss and the preset gradients."""
        for p, g in zip(self.parameters, self.gradients, strict=True):
            p.grad = g
        return self.loss


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """All jobs in one race; the compiled row only once, for the compiler takes longer than the race."""
    scene = Scene()
    jobs = [*_solved(scene), *_perturbed(scene), *_peers(scene), *_reference(Scene())]
    notes = [] if pytorch_optimizer_sam() else [INSTALL]
    if not (shutil.which("g++") or shutil.which("clang++")):
        notes.append("no C++ compiler here: the compiled row is left out")
    elif allocator == "pinned":
        jobs.append(_compiled(scene))
    settings = {"tensors": TENSORS, "shape": SHAPE, "rho": RHO, "floor": "3.5 copy_ of all parameters", **versions()}
    raced = race(_floor(scene), jobs, 5 if quick else 51, TARGETS)
    return {"settings": settings, "perturb and restore": {**raced, "notes": notes}}


def _floor(scene: Scene) -> Job:
    buffers = [torch.empty_like(g) for g in scene.gradients]

    def copies() -> None:
        for count in (TENSORS, TENSORS, TENSORS, TENSORS // 2):
            for source, target in zip(scene.gradients[:count], buffers[:count], strict=True):
                target.copy_(source)

    return Job("floor", copies, scene.bare)


def _solved(scene: Scene) -> list[Job]:
    def job(name: str, metric: geosam.Metric, move: geosam.Copy | geosam.Swap) -> Job:
        @torch.no_grad()
        def go() -> None:
            observation = geosam.Observation(scene.parameters, scene.gradients, scene.loss)
            move.displace(scene.parameters, geosam.solve(metric.at(observation), scene.gradients, RHO))
            move.restore()

        return Job(name, go, scene.bare)

    return [
        job(f"solve, {how.lower()}, {name}", metric, getattr(geosam, how)())
        for name, metric in GEOMETRIES.items()
        for how in ("Copy", "Swap")
    ]


def perturbing(scene: Scene, name: str, metric: geosam.Metric, move: geosam.Copy | geosam.Swap) -> Job:
    """geosam, through ``perturbed()``."""
    optimizer = geosam.SAM(Still(scene.parameters), metric, RHO, move=move)

    def go() -> None:
        with optimizer.perturbed(scene.closure):
            pass

    return Job(name, go, scene.bare)


def _perturbed(scene: Scene) -> list[Job]:
    return [
        perturbing(scene, f"perturbed(), {how.lower()}, {name}", metric, getattr(geosam, how)())
        for name, metric in GEOMETRIES.items()
        for how in ("Copy", "Swap")
    ]


def _two_steps(scene: Scene, name: str, optimizer: Any) -> Job:
    def go() -> None:
        optimizer.first_step()
        optimizer.second_step()

    return Job(name, go, scene.closure)


def theirs(scene: Scene, name: str, **options: Any) -> Job:
    """pytorch_optimizer's two steps. Raises: ImportError where it is not installed."""
    peer = pytorch_optimizer_sam()
    if peer is None:
        raise ImportError(INSTALL)
    return _two_steps(scene, name, peer(scene.parameters, _still, rho=RHO, **options))


def _peers(scene: Scene) -> list[Job]:
    settings = {"": {}, ", adaptive": {"adaptive": True}, ", foreach": {"foreach": True}}
    if pytorch_optimizer_sam() is None:
        return []
    return [theirs(scene, f"pytorch_optimizer SAM{name}", **options) for name, options in settings.items()]


def _reference(scene: Scene) -> list[Job]:
    base = Still(scene.parameters)
    return [
        _two_steps(scene, "reference SAM", ReferenceSAM(base, RHO)),
        _two_steps(scene, "reference SAM, adaptive", ReferenceSAM(base, RHO, adaptive=True)),
    ]


def _still(parameters: Any, **_: Any) -> Still:
    return Still(parameters)


def _compiled(scene: Scene) -> Job:
    """The same norm and solver, traced with the sum θ + ε into swapped buffers as one graph."""
    buffers = [torch.empty_like(g) for g in scene.gradients]
    metric = metrics.GradientMagnitude()

    def fill(parameters: list[Tensor], gradients: list[Tensor], targets: list[Tensor]) -> None:
        observation = geosam.Observation(parameters, gradients, scene.loss)
        epsilon = geosam.solve(metric.at(observation), gradients, RHO).epsilon
        for target, p, e in zip(targets, parameters, epsilon, strict=True):
            target.copy_(p + e)

    compiled: Callable[..., None] = torch.compile(fill, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def go() -> None:
        home = [p.data for p in scene.parameters]
        compiled(home, scene.gradients, buffers)
        for p, buffer in zip(scene.parameters, buffers, strict=True):
            p.data = buffer
        for p, data in zip(scene.parameters, home, strict=True):
            p.data = data

    return Job("compiled, swap, GradientMagnitude", go, scene.bare)
