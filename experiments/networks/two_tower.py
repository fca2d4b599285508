"""Two perceptrons, one for the upper and one for the lower half of an image, and how alike what they say is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TwoTower(nn.Module):
    """Images [n, c, h, w] ↦ z [n, n], z_ij = e^s ⟨u_i, v_j⟩: u_i of the upper half of image i, v_j of the lower half of j,
    both of length 1, s learned. Samples meet in the outputs. Source of the scheme: Radford et al. 2021 (CLIP).
    """

    def __init__(self, pixels: int, hidden: int = 64, width: int = 16) -> None:
        super().__init__()
        self.upper, self.lower = (
            nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, width)) for _ in range(2)
        )
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        u, v = F.normalize(self.upper(x[:, :, :half]), dim=1), F.normalize(self.lower(x[:, :, half:]), dim=1)
        return self.log_scale.exp() * u @ v.T
