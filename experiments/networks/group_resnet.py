"""A residual network whose samples do not meet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class _GroupBlock(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(8, width),
        )
        same = width_in == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.inside(x) + self.shortcut(x))


def group_resnet() -> nn.Sequential:
    """A residual network with GroupNorm, whose samples do not meet; 117 thousand parameters at 32×32."""
    stem = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.GroupNorm(8, 32), nn.ReLU()]
    blocks = [_GroupBlock(32, 32, 2), _GroupBlock(32, 32, 1), _GroupBlock(32, 48, 2), _GroupBlock(48, 48, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
