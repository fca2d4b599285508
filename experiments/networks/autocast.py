"""Mixed precision for every way of calling a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Autocast(nn.Module):
    """``inside`` in bfloat16 where autocast takes it, for every way of calling it; outputs in float32."""

    def __init__(self, inside: nn.Module, device: str) -> None:
        super().__init__()
        self.inside, self.device = inside, device

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16):
            return self.inside(x).float()
