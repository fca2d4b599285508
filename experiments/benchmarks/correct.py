"""Whether ε* on a device is that of float64 on a CPU, and whether a step reads the host.

Every geometry in float32; the per-sample ones also under torch's defaults (convolutions in TF32 where there is any) and under
bfloat16 autocast, where Euclidean shows what the precision of the two passes alone does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

import geosam
from geosam import metrics, norms
from geosam.observation import as_metric

from ..networks.autocast import Autocast
from ..networks.group_resnet import group_resnet
from ..networks.mlp import mlp
from ..networks.resnet import resnet20
from ..networks.vision_transformer import VisionTransformer
from .graph import without_synchronising
from .ledger import Part, Turn

ALLOCATORS = ("pinned",)
RHO = 0.05

EVERY: dict[str, geosam.Metric] = {
    "Euclidean": metrics.Euclidean(),
    "ParameterScaled": metrics.ParameterScaled(),
    "GradientMagnitude": metrics.GradientMagnitude(),
    "GradientMagnitude(500, 0.01)": metrics.GradientMagnitude(500.0, 0.01),
    "Monge": metrics.Monge(),
    "FilterWise": metrics.FilterWise(),
    "LayerWise": metrics.LayerWise(),
    "Sup": as_metric(norms.Sup()),
    "Spectral": as_metric(norms.Spectral()),
    "DiagonalEmpiricalFisher": metrics.DiagonalEmpiricalFisher(1e-3),
    "EmpiricalFisher": metrics.EmpiricalFisher(1e-3),
    "EmpiricalFisher(1e-6)": metrics.EmpiricalFisher(1e-6),
    "Fisher": metrics.Fisher(1e-2),
    "Fisher by CG": metrics.Fisher(1e-2, rows_limit=0, iterations=60),
    "DiagonalFisher": metrics.DiagonalFisher(1e-2),
    "KL along ḡ²": metrics.KLExact(along=metrics.GradientMagnitude()),
    "KL along EmpiricalFisher": metrics.KLExact(along=metrics.EmpiricalFisher(1e-3)),
    "KroneckerFisher": metrics.KroneckerFisher(1e-2),
    "BlockDiagonal": metrics.BlockDiagonal(metrics.EmpiricalFisher(1e-3)),
}
PER_SAMPLE = ("Euclidean", "DiagonalEmpiricalFisher", "EmpiricalFisher", "KL along EmpiricalFisher")
Network = tuple[Callable[[], nn.Module], tuple[int, ...], int]


def small_cnn() -> nn.Sequential:
    """Two convolutions and a GroupNorm."""
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))


SMALL: dict[str, Network] = {
    "MLP": (lambda: mlp(20, 32, 32, 5), (24, 20), 5),
    "CNN": (small_cnn, (10, 3, 8, 8), 5),
    "ViT of width 16": (lambda: VisionTransformer(width=16, depth=1, heads=2), (6, 3, 32, 32), 10),
}
LARGE: dict[str, Network] = {
    "residual CNN, GroupNorm": (group_resnet, (16, 3, 32, 32), 10),
    "ResNet-20, frozen statistics": (resnet20, (16, 3, 32, 32), 10),
    "ViT": (VisionTransformer, (16, 3, 32, 32), 10),
}


def settings() -> dict[str, Any]:
    """What all parts have in common."""
    return {"rho": RHO, "error": "‖ε − ε₆₄‖/‖ε₆₄‖, ε₆₄ in float64 on the CPU"}


def parts(quick: bool) -> dict[str, Part]:
    """Small networks under every geometry, larger ones under the per-sample geometries in several precisions, host reads."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small, large = list(SMALL)[: 1 if quick else None], list(LARGE)[: 1 if quick else None]
    return {
        **{f"float32, {name}": Part(1.0, partial(every, name, device)) for name in small},
        **{f"precisions, {name}": Part(1.0, partial(precisions, name, device)) for name in large},
        "a step without a host read": Part(1.0, partial(host_reads, device)),
    }


def every(name: str, device: torch.device, turn: Turn) -> dict[str, Any]:
    """Each geometry's error in plain float32."""
    return errors(SMALL[name], EVERY, ("float32",), False, device, turn)


def precisions(name: str, device: torch.device, turn: Turn) -> dict[str, Any]:
    """The per-sample geometries' errors in plain float32, under torch's defaults, and under bfloat16 autocast."""
    chosen = {key: EVERY[key] for key in PER_SAMPLE}
    return errors(LARGE[name], chosen, ("float32", "defaults", "bf16"), "frozen" in name, device, turn)


def errors(
    network: Network, chosen: Mapping[str, geosam.Metric], how: Sequence[str], frozen: bool, device: torch.device, turn: Turn
) -> dict[str, Any]:
    """ "geometry, precision" → error, or why there is none: a refusal is a result."""
    make, shape, classes = network
    torch.manual_seed(0)
    model, x, y = make(), torch.randn(shape), torch.randint(classes, shape[:1])
    wide = copy.deepcopy(model).double()
    there = copy.deepcopy(model).to(device)

    @cache
    def true(name: str) -> Tensor:
        return epsilon(wide, x.double(), y, chosen[name], frozen)

    def error(name: str, precision: str) -> float:
        with tf32(precision == "defaults"):
            seen = Autocast(there, device.type) if precision == "bf16" else there
            found = epsilon(seen, x.to(device), y.to(device), chosen[name], frozen)
        return float(f"{(found - true(name)).norm() / true(name).norm():.2e}")

    jobs = {f"{name}, {precision}": partial(error, name, precision) for name in chosen for precision in how}
    found, left_out = turn.each(jobs, device)
    return {**found, **left_out}


def epsilon(model: nn.Module, x: Tensor, y: Tensor, metric: geosam.Metric, frozen: bool) -> Tensor:
    """ε* of a first step as one float64 vector on the CPU."""
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), metric, RHO)
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=frozen).on(x, y)
    with optimizer.perturbed(bound) as p:
        return torch.cat([t.detach().double().flatten().cpu() for t in p.epsilon])


def host_reads(device: torch.device, turn: Turn) -> dict[str, Any]:
    """True, or where the host had to wait for the device in a third step."""
    if device.type != "cuda":
        return {"not run": "no CUDA device here"}

    def third(metric: geosam.Metric) -> bool | str:
        torch.manual_seed(0)
        model = group_resnet().to(device)
        x, y = torch.randn(8, 3, 32, 32, device=device), torch.randint(10, (8,), device=device)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
        optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), metric, RHO)
        for _ in range(2):
            optimizer.step(bound)
        return without_synchronising(partial(optimizer.step, bound), device)

    found, left_out = turn.each({name: partial(third, metric) for name, metric in EVERY.items()}, device)
    return {**found, **left_out}


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """torch's defaults, which let convolutions compute in TF32; or plain float32 throughout."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
