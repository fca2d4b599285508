"""The networks that are timed, as the literature defines them."""

from __future__ import annotations

import itertools

import torch
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


def resnet20(width: int = 16) -> nn.Sequential:
    """He et al. 2016, section 4.2: three stages of three basic blocks for 32×32 images; 270 thousand parameters."""
    blocks: list[nn.Module] = []
    for (width_in, wide), stride in zip(itertools.pairwise((width, width, 2 * width, 4 * width)), (1, 2, 2), strict=True):
        blocks += [_BasicBlock(width_in, wide, stride), _BasicBlock(wide, wide, 1), _BasicBlock(wide, wide, 1)]
    stem = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for wide_in, wide in itertools.pairwise(widths):
        layers += [nn.Linear(wide_in, wide), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


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


class VisionTransformer(nn.Module):
    """Patches of 4×4, learned positions, pre-norm encoder blocks, mean over tokens; 0.6 million parameters."""

    def __init__(self, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(64, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens).mean(1))


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


def wide_resnet(depth: int = 28, widen: int = 10, classes: int = 10) -> nn.Sequential:
    """Zagoruyko and Komodakis 2016, WRN-depth-widen without dropout; 36.5 million parameters as WRN-28-10."""
    each = (depth - 4) // 6
    widths = (16, 16 * widen, 32 * widen, 64 * widen)
    blocks: list[nn.Module] = []
    for (width_in, width), stride in zip(itertools.pairwise(widths), (1, 2, 2), strict=True):
        blocks += [_WideBlock(width_in, width, stride), *(_WideBlock(width, width, 1) for _ in range(each - 1))]
    end = [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), *blocks, *end)


def vision_transformer(image: int, patch: int, width: int, depth: int, heads: int, classes: int) -> nn.Module:
    """torchvision's; 224, 16, 384, 12, 6, 1000 is ViT-S/16 of Touvron et al. 2021, 22 million parameters."""
    from torchvision.models.vision_transformer import VisionTransformer as Torchvision  # seconds to import

    model = Torchvision(image, patch, depth, heads, width, 4 * width, num_classes=classes)
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)  # a head of zeros, torchvision's, stops every gradient behind it
    return model


class Autocast(nn.Module):
    """``inside`` in bfloat16 where autocast takes it, for every way of calling it; outputs in float32."""

    def __init__(self, inside: nn.Module, device: str) -> None:
        super().__init__()
        self.inside, self.device = inside, device

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16):
            return self.inside(x).float()
