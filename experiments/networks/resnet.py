"""Residual networks for 32×32 images as the literature defines them."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional


class _BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm; the shortcut is the identity, subsampled and zero-padded (option A)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride, self.grows = stride, width - width_in
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inside = functional.relu(self.norm1(self.conv1(x)))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.grows))
        return functional.relu(self.norm2(self.conv2(inside)) + shortcut)


def resnet(depth: int = 20, width: int = 16, classes: int = 10, channels: int = 3) -> nn.Sequential:
    """He et al. 2016, section 4.2: three stages of (depth − 2)/6 basic blocks; 270 thousand parameters at depth 20."""
    each, rest = divmod(depth - 2, 6)
    if rest or not each:
        raise ValueError(f"three stages of blocks of two layers, a stem and a head make 6n + 2 layers: got depth {depth}")
    blocks: list[nn.Module] = []
    for (width_in, wide), stride in zip(itertools.pairwise((width, width, 2 * width, 4 * width)), (1, 2, 2), strict=True):
        blocks += [_BasicBlock(width_in, wide, stride), *(_BasicBlock(wide, wide, 1) for _ in range(each - 1))]
    stem = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def resnet20(width: int = 16) -> nn.Sequential:
    """For ten classes of colour images, as benchmarks take it."""
    return resnet(20, width)
