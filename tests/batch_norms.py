"""Networks with BatchNorm, and what their frozen gradients are: BatchNorm written out, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from tests.networks import build, draw, labels


def vectors(norm=nn.BatchNorm1d, **options):
    return nn.Sequential(nn.Linear(4, 6), norm(6, **options), nn.Tanh(), nn.Linear(6, 3))


def sequences():
    layers = (nn.Conv1d(2, 5, 2), nn.BatchNorm1d(5), nn.Tanh(), nn.Flatten(), nn.Linear(15, 3))
    return nn.Sequential(nn.Unflatten(1, (2, -1)), *layers)


def images():
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), nn.Conv2d(4, 4, 2))
    return nn.Sequential(*layers, nn.BatchNorm2d(4, affine=False), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))


def volumes():
    return nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 8, 3))


NETS = {
    "BatchNorm1d": (vectors, (4,)),
    "BatchNorm1d, sequences": (sequences, (8,)),
    "BatchNorm2d, two": (images, (2, 3, 3)),
    "BatchNorm3d": (volumes, (2, 3, 3, 3)),
    "no running statistics": (lambda: vectors(track_running_stats=False), (4,)),
    "no running statistics, eval": (lambda: vectors(track_running_stats=False).eval(), (4,)),
    "large eps": (lambda: vectors(eps=0.3), (4,)),
}


def problem(name: str, n: int = 6, dtype: torch.dtype = torch.float32, seed: int = 0):
    """(bound, parameters) with frozen statistics; weights and biases of the normalisations are not at their initial 1 and 0."""
    make, shape = NETS[name]
    model = build(make, seed, dtype)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.3 * draw(*p.shape, seed=100 + i + seed, dtype=dtype))
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True)
    return bound.on(2 * draw(n, *shape, seed=seed + 1, dtype=dtype) + 0.5, labels(n, seed=seed + 2)), list(model.parameters())


class ByHand(nn.Module):
    """BatchNorm written out. constants: (μ, σ²), or None for the batch's, which are then kept, and detached if ``still``."""

    def __init__(self, norm: nn.Module, still: bool) -> None:
        super().__init__()
        self.norm, self.still = norm, still
        self.constants: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        dims = [0, *range(2, x.dim())]
        count, view = x.numel() / x.shape[1], (1, -1, *[1] * (x.dim() - 2))
        if self.constants is None:
            mean = x.sum(dims) / count
            variance = (x - mean.view(view)).square().sum(dims) / count
            seen = (mean, variance)
        else:
            seen = self.constants
        mean, variance = (t.detach() if self.still else t for t in seen)
        self.kept = (mean.detach(), variance.detach())
        z = (x - mean.view(view)) / (variance.view(view) + self.norm.eps).sqrt()
        return z if self.norm.weight is None else z * self.norm.weight.view(view) + self.norm.bias.view(view)


def by_hand(model: nn.Sequential, still: bool = True) -> nn.Sequential:
    """A float64 copy of a sequence of layers, each BatchNorm written out."""
    wide = copy.deepcopy(model).double()
    return nn.Sequential(*(ByHand(m, still) if isinstance(m, nn.modules.batchnorm._BatchNorm) else m for m in wide))


def gradient_by_hand(bound, still: bool = True) -> Tensor:
    model = by_hand(bound.model, still)
    loss = F.cross_entropy(model(bound.x.double()), bound.y)
    return vec.flatten(torch.autograd.grad(loss, list(model.parameters())))


def rows_by_hand(bound) -> Tensor:
    """One sample at a time, with the batch's statistics put in as constants."""
    model, rows = by_hand(bound.model), []
    model(bound.x.double())
    for m in model:
        if isinstance(m, ByHand):
            m.constants = m.kept
    for i in range(bound.n):
        loss = F.cross_entropy(model(bound.x[i : i + 1].double()), bound.y[i : i + 1])
        rows.append(vec.flatten(torch.autograd.grad(loss, list(model.parameters()))))
    return torch.stack(rows)
