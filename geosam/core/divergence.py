"""A divergence at one point, such as KL: a budget in place of a ball."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from . import vectors as vec
from .brief import Brief
from .geometry import InnerProduct, Norm
from .vectors import Vectors


@dataclass(frozen=True)
class Landing:
    """A forward pass at θ + ε, kept with its graph. parameters: the graph's leaves, θ + ε; outputs: the model's."""

    parameters: Vectors
    outputs: Tensor


class Divergence(Brief, ABC):
    """D(ε) ≥ 0 with D(0) = 0 and ∇D(0) = 0.

    along: the norm whose ε* gives the ray on which D(ε) = ρ²/2 is solved. cap: ‖ε‖₂ is at most this; None: whatever it is.
    """

    along: Norm
    cap: float | None = None

    @abstractmethod
    def __call__(self, epsilon: Vectors) -> Tensor:
        """D(ε), a 0-dimensional float64 tensor."""

    def gradient(self, epsilon: Vectors) -> Vectors:
        """∇D(ε), float64. Default: central differences of fourth order, 4P evaluations; override it where ∇D is known."""
        flat = vec.flatten(epsilon).double()
        # D varies on the scale of ε itself: rounding and truncation both stay near 1e-7 where D is computed to 1e-16
        step = 1e-3 * float(flat.abs().amax())
        slope = torch.zeros_like(flat)
        for i in range(len(flat) if step else 0):
            unit = torch.zeros_like(flat)
            unit[i] = step
            ahead, far = (
                float(self(self._at(flat + k * unit, epsilon)) - self(self._at(flat - k * unit, epsilon))) for k in (1, 2)
            )
            slope[i] = (8 * ahead - far) / (12 * step)
        return vec.unflatten(slope, epsilon)

    @staticmethod
    def _at(flat: Tensor, like: Vectors) -> list[Tensor]:
        return [v.to(t.dtype) for v, t in zip(vec.unflatten(flat, like), like, strict=True)]

    def visit(self, direction: Vectors, scale: Tensor, keep: bool) -> tuple[Tensor, Landing | None]:
        """D at ε = scale · direction; with ``keep`` also the forward pass that computed it, if there was one."""
        return self(vec.scale(direction, scale)), None

    @abstractmethod
    def local_norm(self, damping: float) -> InnerProduct:
        """The inner product with G = ∇²D(0) + damping · I. Undamped it is a seminorm: ``flat`` works, ``sharp`` does not."""
