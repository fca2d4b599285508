"""XXᵀ from its lower triangle: a little over half the multiplications."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST, _SMALLEST = 256, 32


def add_square(out: Tensor, x: Tensor) -> None:
    """Add XXᵀ to ``out``, [n, n], for X of shape [n, w]: strips of the lower triangle, each mirrored."""
    n, wide = x.shape[0], x.shape[1] >= 1024
    size = min(_LARGEST, max(_SMALLEST, n // 2)) if wide else _LARGEST
    for start in range(0, n, size):
        strip = slice(start, start + size)
        below = torch.mm(x[strip], x[: strip.stop].T)
        out[strip, : strip.stop].add_(below)
        if start:
            out[:start, strip].add_(below[:, :start].T)
