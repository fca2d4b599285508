"""Vision transformers: a small one that is quick to import, and torchvision's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """Patches of 4×4, learned positions, pre-norm encoder blocks, mean over tokens; 0.6 million parameters."""

    def __init__(
        self, channels: int = 3, size: int = 32, classes: int = 10, width: int = 128, depth: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn((size // 4) ** 2, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens).mean(1))


def vision_transformer(image: int, patch: int, width: int, depth: int, heads: int, classes: int) -> nn.Module:
    """torchvision's; 224, 16, 384, 12, 6, 1000 is ViT-S/16 of Touvron et al. 2021, 22 million parameters."""
    from torchvision.models.vision_transformer import VisionTransformer as Torchvision  # seconds to import

    model = Torchvision(image, patch, depth, heads, width, 4 * width, num_classes=classes)
    # torchvision's head is zero, and so would be the gradients of all layers before it
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)
    return model
