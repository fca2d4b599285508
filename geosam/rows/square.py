"""XXᵀ at a little over half its multiplications."""

from __future__ import annotations

import torch
from torch import Tensor

_STRIP = 256


def add_square(out: Tensor, x: Tensor) -> None:
    """Add XXᵀ to ``out``, [n, n], for X of shape [n, w]: strips of the lower triangle, each reflected."""
    for start in range(0, x.shape[0], _STRIP):
        strip = slice(start, start + _STRIP)
        add_strip(out, strip, torch.mm(x[strip], x[: strip.stop].T))


def add_strip(out: Tensor, strip: slice, below: Tensor) -> None:
    """Add to the symmetric ``out`` its rows ``strip`` up to the diagonal, and their reflection: ``below`` has shape [.., stop]."""
    out[strip, : strip.stop] += below
    if strip.start:
        out[: strip.start, strip] += below[:, : strip.start].T
