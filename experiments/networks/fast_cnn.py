"""The network of the recipes that reach 94 % on CIFAR-10 in seconds."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class FastCNN(nn.Module):
    """A frozen whitening convolution, three groups of two 3×3 convolutions, max-pooling, a linear head scaled by 1/9.

    ``whiten`` must see training images first. Source: github KellerJordan/cifar10-airbench, from its description.
    """

    def __init__(self, channels: int, places: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        filters = 2 * 4 * channels
        self.white = nn.Conv2d(channels, filters, 2, padding=0)
        self.white.weight.requires_grad_(False)
        groups = [_group(width_in, width) for width_in, width in itertools.pairwise((filters, *widths))]
        side = places - 1
        for _ in groups:
            side //= 2
        if side < 1:
            raise ValueError(f"three poolings leave nothing of {places}×{places}: images of 9×9 and more, 32×32 in the recipe")
        pool = min(3, side)
        self.inside = nn.Sequential(nn.GELU(), *groups, nn.MaxPool2d(pool), nn.Flatten())
        self.head = nn.Linear(widths[-1] * (side // pool) ** 2, classes, bias=False)

    @torch.no_grad()
    def whiten(self, x: Tensor, eps: float = 5e-4) -> None:
        """Filters Λ^(−½)U of the 2×2 patches' covariance UΛUᵀ, and their negatives. x: [n, channels, side, side]."""
        patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + eps).sqrt()).T.flip(0).reshape(-1, x.shape[1], 2, 2)
        self.white.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inside(self.white(x))) / 9


def _group(width_in: int, width: int) -> nn.Sequential:
    first = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
    second = nn.Conv2d(width, width, 3, padding=1, bias=False)
    for convolution in (first, second):  # the first filters pass their input on
        nn.init.dirac_(convolution.weight.data[: convolution.in_channels])
    return nn.Sequential(first, nn.MaxPool2d(2), _norm(width), nn.GELU(), second, _norm(width), nn.GELU())


def _norm(width: int) -> nn.BatchNorm2d:
    """Shifts, and scales that stay 1."""
    norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def fast_cnn(shape: tuple[int, ...], classes: int, widths: tuple[int, ...] = (64, 256, 256)) -> FastCNN:
    """For images of 32×32, two million parameters at the widths of the recipe."""
    return FastCNN(shape[0], shape[1], classes, widths)
