"""Damping: G = F + λI with λ explicit, absolute or relative to F's own scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .public import Public


@dataclass(frozen=True)
class Relative(Public):
    """λ = ratio × mean of F's diagonal. Scale-free: the same ratio means the same geometry when the loss is rescaled."""

    ratio: float

    def __post_init__(self) -> None:
        check_damping(self.ratio)


Damping = float | Relative


def check_damping(damping: Damping) -> None:
    """ValueError unless λ is a finite number ≥ 0 (a ratio in :class:`Relative`)."""
    if isinstance(damping, Relative):
        return
    if isinstance(damping, bool) or not isinstance(damping, int | float):
        raise TypeError(f"damping must be a number or Relative(ratio), got {damping!r}")
    if not (math.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be finite and not negative, got {damping}; G = F + damping·I must stay positive")


def resolve(damping: Damping, mean_diagonal: Callable[[], Tensor]) -> Tensor | float:
    """λ: a float, or for :class:`Relative` with a ratio > 0 a 0-dimensional float64 tensor on the device."""
    if not isinstance(damping, Relative):
        return float(damping)
    if not damping.ratio:
        return 0.0
    mean = mean_diagonal()
    return damping.ratio * torch.where(mean == 0, 1.0, mean)  # F = 0 has no scale, and any λ gives the same ε


def singular(what: str) -> ValueError:
    """The error for zero damping where F is singular."""
    return ValueError(f"damping = 0 leaves {what} singular: it has no inverse here. Use damping > 0, e.g. Relative(1e-3).")
