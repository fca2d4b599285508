"""Wide residual networks as the literature defines them."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional


class _WideBlock(nn.Module):
    """Normalise, activate, convolve, twice; where the shape changes, the shortcut is 1×1 and takes the first activation."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width_in), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        same = width_in == width and stride == 1
        self.shortcut = None if same else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        inside = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        return inside + (x if self.shortcut is None else self.shortcut(active))


def wide_resnet(depth: int = 28, widen: int = 10, classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Zagoruyko and Komodakis 2016, WRN-depth-widen without dropout; 36.5 million parameters as WRN-28-10."""
    each = (depth - 4) // 6
    widths = (16, 16 * widen, 32 * widen, 64 * widen)
    blocks: list[nn.Module] = []
    for (width_in, width), stride in zip(itertools.pairwise(widths), (1, 2, 2), strict=True):
        blocks += [_WideBlock(width_in, width, stride), *(_WideBlock(width, width, 1) for _ in range(each - 1))]
    end = [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)]
    return nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), *blocks, *end)
